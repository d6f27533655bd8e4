"""Compiled parts of the package; everything else stands in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=[f"ext/build.py:{name}" for name in ("engine", "espeak", "alsa", "pocketsphinx")],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
