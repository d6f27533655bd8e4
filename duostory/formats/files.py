"""Files written whole or not at all, and the few helpers that need no numpy."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from duostory import StoryError


def need(module: str) -> ModuleType:
    """Imports a module of the `convert` extra. Raises StoryError with the pip command when it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise StoryError(
            f'{module} is needed for this and is not installed: run pip install "duostory[convert]"') from e


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary name in the folder of `path`; it becomes `path` when the block ends well.

    Whatever goes wrong, `path` is what it was before and the temporary file is gone.
    Raises StoryError when the folder is missing, cannot be written to or is full.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise StoryError(f"{path} is a folder; give the name of a file to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as e:
        raise StoryError(f"cannot write {path}: {e.strerror or e}") from e
    finally:
        with contextlib.suppress(OSError):  # where it could not be made, it cannot be removed either
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises StoryError when it cannot be read."""
    import hashlib

    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise StoryError(f"cannot read {path}: {e.strerror}") from e


def progress(items: Iterable, total: int, what: str) -> Iterable:
    """`items` behind a tqdm bar when a person is watching; without tqdm there is just no bar."""
    if not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, total=total, desc=what, unit="tensor", leave=False)
