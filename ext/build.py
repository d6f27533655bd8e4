"""Builds the binding modules of the package with cffi; setup.py names them.

`_engine` is compiled (API mode, one abi3 module for every Python from 3.11 on); `_espeak`, `_alsa` and `_pocketsphinx` are
declarations only (ABI mode), because voice, sound card and recogniser are opened at run time, where they exist.
"""

from pathlib import Path

import setuptools  # noqa: F401 (brings distutils where Python has none)
from distutils.unixccompiler import UnixCCompiler

from cffi import FFI

EXT = Path(__file__).parent
# No two may have the same name but for the ending: their objects would be one file.
SOURCES = ["model.c", "crc32.c", "forward.c", "attention.c", "mathf.c", "tokenizer.c", "sampler.c",
           "kernels.c", "kernels_scalar.c", "kernels_avx2.c", "kernels_avx512.c", "kernels_neon.c",
           "kernels_rvv.c", "loops_rvv.S", "sound.c"]

# setuptools leaves out what the C compiler can do for assembly.
if ".S" not in UnixCCompiler.src_extensions:
    UnixCCompiler.src_extensions.append(".S")


def declare(name: str) -> FFI:
    ffi = FFI()
    ffi.cdef((EXT / f"{name}.cdef").read_text())
    return ffi


engine = declare("engine")
engine.set_source(
    "duostory._engine",
    '#include "duostory.h"\n#include "sound.h"',
    sources=[f"ext/{name}" for name in SOURCES],
    include_dirs=["ext"],
    depends=[f"ext/{path.name}" for path in sorted(EXT.glob("*.h"))],
    # No contraction and no fast math: the order and rounding of every float operation are the reference's.
    extra_compile_args=["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O3", "-ffp-contract=off", "-fno-fast-math",
                        "-fvisibility=hidden"],
    libraries=["m"],
    py_limited_api=True,
)

espeak = declare("espeak")
espeak.set_source("duostory._espeak", None)

alsa = declare("alsa")
alsa.set_source("duostory._alsa", None)

pocketsphinx = declare("pocketsphinx")
pocketsphinx.set_source("duostory._pocketsphinx", None)
