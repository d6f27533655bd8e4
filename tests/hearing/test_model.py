"""The acoustic model of a board, whose mdef has the triphones that its words can ask for: the same is heard with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from duostory.hearing import pocketsphinx
from tests.conftest import ROOT

pytest.importorskip("numpy")
from tests.hearing import sounds  # noqa: E402 (needs numpy)
from tests.hearing.table import hear  # noqa: E402

# Of pocketsphinx's bin_mdef.h, dict.h and dict2pid.h: which sounds (senone sequences) the phones of its words have.
INSIDE = """
typedef struct { uint16_t *ssid; int16_t *cimap; int32_t n_ssid; } xwdssid_t;
typedef struct {
    int refcount; void *mdef, *dict; uint16_t ***ldiph_lc; xwdssid_t **rssid; uint16_t ***lrdiph_rc; xwdssid_t **lrssid;
} dict2pid_t;
void *ps_config_init(void *);
int ps_config_set_str(void *config, const char *name, const char *value);
void err_set_loglevel(int level);
void *bin_mdef_read(void *config, const char *path);
void *dict_init(void *config, void *mdef);
int32_t dict_wordid(void *dict, const char *word);
dict2pid_t *dict2pid_build(void *mdef, void *dict);
uint16_t dict2pid_internal(dict2pid_t *tables, int32_t word, int position);
"""
PHONES = 42


def made(library: Path, folder: Path, model: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "scripts" / "grammar", model, library / "cmudict-en-us.dict", folder],
                          capture_output=True, text=True)


@pytest.fixture(scope="module")
def board(library, tmp_path_factory) -> Path:
    """A folder as on a board, but with this machine's library."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "libpocketsphinx.so").symlink_to(library / "libpocketsphinx.so")
    assert made(library, folder, library / "en-us").returncode == 0
    return folder


def test_size(library, board):
    before, after = ((folder / "en-us" / "mdef").stat().st_size for folder in (library, board))
    assert after < 0.4 * before  # seen: 1.05 MB of 2.96
    assert {path.name for path in (library / "en-us").iterdir()} - {"README"} == {path.name for path in (board / "en-us").iterdir()}


@pytest.mark.parametrize("dictionary", ["words", "free", "wake"])
def test_the_same_sounds_for_all_words(library, board, dictionary, tmp_path):
    """As pocketsphinx looks them up: alone, inside of words, and at their ends next to any other phone."""
    cffi = pytest.importorskip("cffi")
    from duostory.hearing.grammar import WAKE_DICTIONARY

    ffi, path = cffi.FFI(), tmp_path / "words.dict"
    ffi.cdef(INSIDE)
    lib = ffi.dlopen(str(library / "libpocketsphinx.so"))
    lib.err_set_loglevel(4)
    path.write_text(WAKE_DICTIONARY if dictionary == "wake" else (board / f"{dictionary}.dict").read_text())
    ways = {word: len(phones) for word, *phones in map(str.split, path.read_text().splitlines())}

    def sounds_of(model: Path) -> list:
        config = lib.ps_config_init(ffi.NULL)
        for name, value in {"dict": path, "fdict": model / "noisedict"}.items():
            lib.ps_config_set_str(config, name.encode(), os.fsencode(value))
        mdef = lib.bin_mdef_read(ffi.NULL, os.fsencode(model / "mdef"))
        words = lib.dict_init(config, mdef)
        tables = lib.dict2pid_build(mdef, words)
        ends = [list(end.ssid[0 : end.n_ssid]) + list(end.cimap[0 : PHONES if end.n_ssid else 0])
                for ends in (tables.rssid, tables.lrssid) for phone in range(PHONES) for end in ends[phone][0:PHONES]]
        inside = [lib.dict2pid_internal(tables, lib.dict_wordid(words, word.encode()), position)
                  for word, count in ways.items() for position in range(1, count - 1)]
        begins = [bytes(ffi.buffer(table[0][0], 2 * PHONES**3)) for table in (tables.ldiph_lc, tables.lrdiph_rc)]
        return [inside, ends, begins]

    assert sounds_of(board / "en-us") == sounds_of(library / "en-us")


@pytest.mark.parametrize("mode", ["wishes", "free"])
def test_the_same_is_heard(library, board, mode, monkeypatch):
    """To the last digit."""
    said = [sounds.say(text) for text in ("tell me a story about a dragon and a little train", "a wizard who lost his key", "stop")]
    heard = []
    for folder in library, board:
        monkeypatch.setenv("DUOSTORY_POCKETSPHINX", str(folder))
        monkeypatch.setattr(pocketsphinx, "_opened", None)
        recogniser = pocketsphinx.Recogniser(free=mode == "free")
        recogniser.use(mode)
        found, finish = [], recogniser._decoder.finish
        recogniser._decoder.finish = lambda found=found, finish=finish: found.append(finish()) or found[-1]
        scores = [hear(recogniser, sound)[0].score for sound in said]
        recogniser.close()
        heard.append((found, scores))
    assert heard[0] == heard[1] and all(heard[0][0])


def test_the_whole_model_stays(library, tmp_path):
    (tmp_path / "en-us").symlink_to(library / "en-us")
    done = made(library, tmp_path, library / "en-us")
    assert done.returncode == 1 and done.stderr.endswith("is the whole model: give another folder for the board's\n")


@pytest.mark.parametrize("damage", [
    lambda mdef: b"", lambda mdef: b"0.3\n", lambda mdef: mdef[:1000], lambda mdef: mdef[:100_000], lambda mdef: mdef + b"\0",
    lambda mdef: mdef[:1064] + bytes(4) + mdef[1068:],  # no phones
    lambda mdef: mdef.replace(b"\0SIL\0", b"\0LIS\0"),
    lambda mdef: mdef.replace(b"BMDF", b"FDMB"),  # of a big-endian machine
    lambda mdef: mdef[:-300_000] + bytes([255]) * 300_000,  # senones that are none, in phones
])  # fmt: skip
def test_a_damaged_model(library, tmp_path, damage):
    model = tmp_path / "model"
    model.mkdir()
    (model / "noisedict").write_bytes((library / "en-us" / "noisedict").read_bytes())
    (model / "mdef").write_bytes(damage((library / "en-us" / "mdef").read_bytes()))
    done = made(library, tmp_path, model)
    assert done.returncode == 1
    assert done.stderr == f"duostory: {model}/mdef is no binary mdef of pocketsphinx 5, or damaged\n"
