"""The thin path: what a silent story loads, and the memory that takes on a board of 64 MB."""

import json
import subprocess
import sys

from tests.teller import environment

# Tells a story, and reports the modules that this loaded and the most private memory of the process at any
# token, in bytes, without its mapping of the model.
PROBE = """
import sys
before = set(sys.modules)

class Watch:
    most = 0
    def write(self, data):
        self.most = max(self.most, private())
    def flush(self):
        pass

def private():
    total, ours = 0, True
    with open("/proc/self/smaps") as maps:
        for line in maps:
            key, _, value = line.partition(":")
            if key.startswith("Private_") and ours:
                total += int(value.split()[0]) * 1024
            elif "-" in key.split(" ")[0]:
                ours = not line.rstrip().endswith(".duo")
    return total

class Stdout:
    buffer = Watch()

real, sys.stdout = sys.stdout, Stdout()
from duostory.cli import main
status = main(sys.argv[1:])
sys.stdout = real
modules = sorted(set(sys.modules) - before)
import json
json.dump({"status": status, "modules": modules, "private": Stdout.buffer.most}, sys.stdout)
"""


def probe(home, *args) -> dict:
    result = subprocess.run([sys.executable, "-c", PROBE, *args], capture_output=True, cwd=home,
                            env=environment(home), stdin=subprocess.DEVNULL, timeout=60, check=True)
    report = json.loads(result.stdout)
    assert report["status"] == 0, result.stderr
    return report


def test_a_silent_story_loads_only_what_it_needs(tmp_path, story_model):
    modules = probe(tmp_path, story_model, "--silent", "a cat")["modules"]
    names = {module.partition(".")[0] for module in modules}
    assert names <= sys.stdlib_module_names | {"duostory", "_cffi_backend"}
    assert "duostory._engine" in modules
    # Of the standard library, these cost more than they would give here.
    heavy = {"asyncio", "json", "logging", "shutil", "subprocess", "threading", "tomllib", "urllib.request",
             "wave"}
    assert not heavy & set(modules)
    assert not [module for module in modules if module.startswith("duostory.speech")]


def test_private_memory(tmp_path, story_model):
    """Python, our modules and the engine, without the model's file, when nearly all positions are in use."""
    from duostory.engine import Model

    sentence = "The cat ran to the dog. "
    with Model(story_model) as model:
        times = (model.info.seq_len - 8) // len(model.encode(sentence))
        assert len(model.encode(sentence * times)) > 0.75 * model.info.seq_len
    private = probe(tmp_path, story_model, "--silent", "-s", "1", "-i", sentence * times)["private"]
    assert private < 16e6  # seen: 14.6 MB on x86-64 with CPython 3.11; 6.4 the engine's, 2.9 Python alone
