"""Compiled parts of the package; everything else stands in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["ext/build.py:engine", "ext/build.py:espeak", "ext/build.py:alsa"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
