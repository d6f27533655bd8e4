"""Where models are: the one that comes with duostory, those that can be had, and foreign ones made ours."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from duostory import StoryError
from duostory.folders import user_folder


def data_dir() -> Path:
    """The folder with the default model and the manifest: in the installed package, or in the checkout."""
    here = Path(__file__).parent
    installed = here / "data"
    return installed if installed.is_dir() else here.parent / "models"


def default_model() -> Path:
    """The model that tells stories when none is named."""
    return data_dir() / "story.duo"


def user_dir(variable: str, fallback: str) -> Path:
    """The folder for models in one of the user's folders; StoryError when there is no home folder."""
    folder = user_folder(variable, fallback)
    if not folder:
        raise StoryError(f"there is no home folder to keep models in: set {variable} to a folder")
    return Path(folder) / "models"


def download_dir() -> Path:
    """Where `models get` puts files: $XDG_DATA_HOME/duostory/models."""
    return user_dir("XDG_DATA_HOME", ".local/share")


def cache_dir() -> Path:
    """Where converted models are kept: $XDG_CACHE_HOME/duostory/models."""
    return user_dir("XDG_CACHE_HOME", ".cache")


# ------------------------------------------------------------------------------------------------ manifest


@dataclass(frozen=True)
class Entry:
    """A file that can be had. `sha256` is None when nobody has said it; `needs` names another entry."""

    name: str
    about: str
    file: str
    url: str
    size: int
    sha256: str | None = None
    needs: str | None = None

    @property
    def path(self) -> Path:
        """Where the file is, or will be."""
        return download_dir() / self.file


def manifest() -> dict[str, Entry]:
    """The entries of $DUOSTORY_MANIFEST, or of the manifest that comes with duostory, by name.

    Raises StoryError when the file is missing or damaged, or an entry says something that cannot be.
    """
    import tomllib

    path = Path(os.environ.get("DUOSTORY_MANIFEST") or data_dir() / "manifest.toml")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = {name: Entry(name, **table) for name, table in tables.items()}
    except OSError as e:
        raise StoryError(f"cannot read the list of models {path}: {e.strerror}") from e
    except (ValueError, TypeError, RecursionError) as e:
        raise StoryError(f"{path} is not a list of models: {e}") from e
    for e in entries.values():
        for field, sound in checks(e, entries).items():
            if not sound:
                raise StoryError(f"{path}: the {field} of {e.name} makes no sense: {getattr(e, field)!r}")
    return entries


def checks(e: Entry, entries: dict[str, Entry]) -> dict[str, bool]:
    """Whether each field of an entry, which may be anything that TOML can say, is what it should be."""
    import re

    def text(value: object, pattern: str) -> bool:
        return isinstance(value, str) and re.fullmatch(pattern, value) is not None

    return {
        "about": text(e.about, ".*"),
        "file": text(e.file, r"[^/\0]+") and e.file not in (".", ".."),
        "url": text(e.url, "https?://.+"),
        "size": type(e.size) is int and e.size > 0,
        "sha256": e.sha256 is None or text(e.sha256, "[0-9a-f]{64}"),
        "needs": e.needs is None or text(e.needs, ".+") and e.needs in entries,
    }


def find(name: str) -> Entry:
    """The entry of that name; StoryError that lists the names there are."""
    entries = manifest()
    if name not in entries:
        raise StoryError(f"there is no model {name}: {', '.join(entries)} can be had")
    return entries[name]


# ------------------------------------------------------------------------------------------------ commands


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds `models list|get|verify`; each one's `run` takes the parsed arguments, returns the exit status."""
    models = subparsers.add_parser("models", help="list, fetch and verify models")
    actions = models.add_subparsers(required=True, metavar="list|get|verify")
    listing = actions.add_parser("list", help="show which models there are and which are here")
    listing.set_defaults(run=list_main)
    get = actions.add_parser("get", help="fetch a model, going on where an earlier try stopped")
    get.add_argument("name", metavar="NAME")
    get.set_defaults(run=get_main)
    verify = actions.add_parser("verify", help="compare files with the hashes of the manifest")
    verify.add_argument("name", metavar="NAME|FILE", nargs="?", help="default: every model that is here")
    verify.set_defaults(run=verify_main)


def list_main(args: argparse.Namespace) -> int:
    """Prints one line a model: name, size, whether it is here, what it is."""
    for e in manifest().values():
        part = e.path.with_name(f"{e.file}.part")
        state = ("here" if e.path.exists() else
                 f"{part.stat().st_size / 1e6:.1f} MB here" if part.exists() else "not here")
        vouched = "" if e.sha256 else " (no hash known: cannot be verified)"
        print(f"{e.name:20} {e.size / 1e6:7.1f} MB  {state:14} {e.about}{vouched}")
    return 0


def get_main(args: argparse.Namespace) -> int:
    """Fetches a model and what it needs; says where it is. Raises StoryError."""
    entry = find(args.name)
    for e in (find(entry.needs), entry) if entry.needs else (entry,):
        get(e)
    print(entry.path)
    return 0


def get(entry: Entry) -> None:
    """Fetches one entry unless it is here already and sound. Raises StoryError."""
    from duostory.download import download
    from duostory.formats.files import atomic, sha256

    if entry.path.exists() and entry.sha256 in (None, sha256(entry.path)):
        print(f"{entry.name} is here already", file=sys.stderr)
        return
    seen = download(entry.url, entry.path, entry.size, entry.sha256)
    if entry.sha256:
        print(f"{entry.name}: fetched and verified", file=sys.stderr)
        return
    with atomic(seen_path(entry)) as temporary:
        temporary.write_text(f"{seen}\n")
    print(f"{entry.name}: fetched but not verified, because no hash of it is known; what came has SHA-256 "
          f"{seen}, by which later changes will be noticed", file=sys.stderr)


def seen_path(entry: Entry) -> Path:
    """Where the hash of an unverified download is noted."""
    return entry.path.with_name(f"{entry.file}.sha256")


def verify_main(args: argparse.Namespace) -> int:
    """Prints one line a file; returns 1 when one is not what it should be."""
    entries = manifest()
    if args.name in entries:
        verdicts = [verify_entry(entries[args.name])]
    elif args.name:
        verdicts = [verify_file(Path(args.name), entries)]
    else:
        verdicts = [verify_entry(e) for e in entries.values() if e.path.exists()]
        verdicts.insert(0, verify_file(default_model(), entries))
    for _, line in verdicts:
        print(line)
    return 0 if all(sound for sound, _ in verdicts) else 1


def verify_entry(e: Entry) -> tuple[bool, str]:
    """Whether the fetched file is what the manifest says, and a line that says so."""
    from duostory.formats.files import sha256

    if not e.path.exists():
        raise StoryError(f"{e.name} is not here: run python -m duostory models get {e.name}")
    seen = sha256(e.path)
    if e.sha256:
        return (seen == e.sha256, f"{e.name}: verified" if seen == e.sha256 else
                f"{e.name}: WRONG, {e.path} has SHA-256 {seen}: remove it and run models get {e.name}")
    try:
        noted = seen_path(e).read_bytes().strip()
    except OSError:
        return True, f"{e.name}: cannot be verified, no hash of it is known; it has SHA-256 {seen}"
    if noted != seen.encode():
        return False, f"{e.name}: CHANGED since it was fetched, {e.path} now has SHA-256 {seen}"
    return True, (f"{e.name}: cannot be verified, no hash of it is known; "
                  f"it is what was first fetched, SHA-256 {seen}")


def verify_file(path: Path, entries: dict[str, Entry]) -> tuple[bool, str]:
    """A .duo file is checked by its own checksum, any other by the manifest's entry of that file name."""
    from duostory.formats import sniff
    from duostory.formats.files import sha256

    if not path.is_file():
        raise StoryError(f"{path} is neither a file nor one of {', '.join(entries)}")
    for e in entries.values():
        if e.file == path.name and e.sha256:
            sound = sha256(path) == e.sha256
            return sound, f"{path}: " + (f"verified as {e.name}" if sound else f"WRONG, it is not {e.name}")
    if sniff(path) != "duo":
        raise StoryError(f"{path} cannot be verified: the manifest has no file of that name")
    from duostory.engine import Model

    with Model(path) as model:
        return True, f"{path}: sound, its own checksum {model.info.crc32:08x} is right"


# ------------------------------------------------------------------------------------------------- foreign


def to_duo(path: Path | str, tokenizer: Path | str | None = None) -> Path:
    """`path` itself if it is a .duo file; else a .duo file in the cache with the same model, made if needed.

    `tokenizer` is for llama2.c checkpoints and Hugging Face folders, looked for beside the model when None.
    Weights keep their type, so that a story is the one that the original tells. Raises StoryError when the
    file is no model, and, where numpy is missing, with the command to run on a computer.
    """
    from duostory.formats import convert, sniff

    path, tokenizer = Path(path), Path(tokenizer) if tokenizer else None
    kind = sniff(path)
    if kind == "duo":
        if tokenizer:
            raise StoryError(f"{path} carries its own tokenizer: leave --tokenizer out")
        return path
    place, state = fingerprint(path, kind, tokenizer)
    cached = cache_dir() / f"{path.stem}-{place}-{state}.duo"
    if opens(cached):
        return cached
    import glob
    import importlib.util

    if not importlib.util.find_spec("numpy"):
        option = f" --tokenizer {tokenizer}" if tokenizer else ""
        raise StoryError(f"{path} is a {kind} model, and making a .duo file of it needs numpy, which is not "
                         "here: on a computer, run "
                         f"python -m duostory convert {path} {path.stem}.duo{option}")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StoryError(f"cannot make {cached.parent}: {e.strerror}") from e
    convert(path, cached, tokenizer=tokenizer)
    for stale in set(cached.parent.glob(f"{glob.escape(path.stem)}-{place}-*.duo")) - {cached}:
        stale.unlink(missing_ok=True)
    return cached


def opens(path: Path) -> bool:
    """Whether the engine takes a .duo file: it may be missing, damaged, or of another version."""
    from duostory.engine import Model

    try:
        Model(path, "scalar").close()  # the kernel that every machine has, whichever the user asks for
    except StoryError:
        return False
    return True


def fingerprint(path: Path, kind: str, tokenizer: Path | None) -> tuple[str, str]:
    """Two short hashes: of where a model is, and of the size and time of the files it consists of.

    Not of the content: a hash of 60 MB would cost more than the story's first sentence.
    Raises StoryError when a checkpoint of llama2.c has no tokenizer.
    """
    import hashlib

    from duostory.formats.llama2c_layout import find_tokenizer

    def short(text: str) -> str:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    try:
        files = sorted(path.iterdir()) if kind == "huggingface" else [path]
        if tokenizer or kind.startswith("llama2c"):
            files.append(tokenizer or find_tokenizer(path))
        stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
        return short(str(path.resolve())), short(repr(stats))
    except StoryError as e:
        raise StoryError(f"cannot read {path}: {e}") from e
    except OSError as e:
        raise StoryError(f"cannot read {e.filename or path}: {e.strerror}") from e
