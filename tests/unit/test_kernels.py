"""Every kernel this processor can run against the scalar one, over odd sizes and extreme values (kernel_check.c)."""

import shutil
import subprocess

from duostory.engine import kernels
from tests.conftest import ROOT


def test_kernels_agree_to_the_bit(tmp_path):
    sources = [ROOT / "tests" / "emulated" / "kernel_check.c", *(ROOT / "ext").glob("kernels*.[cS]"), ROOT / "ext" / "mathf.c"]
    subprocess.run([shutil.which("cc"), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-ffp-contract=off",
                    "-fsanitize=address,undefined", "-fno-sanitize=float-divide-by-zero", "-fno-sanitize-recover=all",
                    "-I", ROOT / "ext", *sources, "-o", tmp_path / "kernel_check", "-lm"], check=True)
    lines = subprocess.run([tmp_path / "kernel_check"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == kernels()[:-1]
    assert all(int(line.split()[1]) > 2000 for line in lines)
