"""Models in and out: llama2.c, Hugging Face and GGUF on one side, `.duo` on the other.

Needs numpy (the `convert` extra), which is imported only when something is read or written; `sniff` does not.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from duostory import StoryError

if TYPE_CHECKING:
    from duostory.formats.checkpoint import Checkpoint

FORMS = ("llama2c-v0", "llama2c-v2", "gguf-f32", "gguf-q8_0", "gguf-q4_0")


def sniff(path: Path) -> str:
    """The kind of model at `path`: duo, llama2c-v0, -v1 or -v2, huggingface (a folder) or gguf.

    Raises StoryError, with a sentence about what it is instead, for anything else. Looks at the first bytes
    and, for llama2.c's checkpoints, of which v0 has no magic, at the length of the file.
    """
    path = Path(path)
    try:
        if path.is_dir():
            if (path / "config.json").is_file():
                return "huggingface"
            raise StoryError(f"{path} is a folder without config.json, so no Hugging Face model")
        if path.exists() and not path.is_file():
            raise StoryError(f"{path} is not a plain file")
        with open(path, "rb") as f:
            head, size = f.read(256), path.stat().st_size
    except OSError as e:
        raise StoryError(f"cannot open {path}: {e.strerror}") from e
    if head[:4] in (b"\x89DUO", b"GGUF"):
        return "gguf" if head[:4] == b"GGUF" else "duo"
    if head[:2] == b"PK":
        raise StoryError(f"{path} is a PyTorch file: use llama2.c's export.py, or save it as safetensors")
    if head[8:10] == b'{"':
        raise StoryError(f"{path} is one safetensors file: give the folder with its config.json")
    return f"llama2c-v{sniff_llama2c(path, head, size)}"


def sniff_llama2c(path: Path, head: bytes, size: int) -> int:
    from duostory.formats.llama2c_layout import MAGIC, parse_header, sizes

    try:
        version, config, group_size, at = parse_header(head)
    except StoryError as e:
        if head[:4] == MAGIC:
            raise StoryError(f"cannot read {path}: {e}") from e
        raise StoryError(f"{path} is no model; .duo, llama2.c, GGUF, Hugging Face folders are known") from e
    expected = at + sum(n for _, n in sizes(version, config, group_size))
    if size != expected:
        raise StoryError(f"{path} begins like a llama2.c checkpoint of {expected} bytes but is {size} bytes "
                         "long: it is cut short or damaged, copy it again")
    return version


def read(path: Path, tokenizer: Path | None = None) -> "Checkpoint":
    """Opens a model of any kind; weights are loaded when asked for.

    llama2.c's checkpoints need a `tokenizer` (tokenizer.bin or SentencePiece's tokenizer.model), which is
    looked for beside the file when it is not given; .duo and GGUF files carry their own. Raises StoryError.
    """
    path, tokenizer = Path(path), Path(tokenizer) if tokenizer else None
    kind = sniff(path)
    from duostory.formats.files import need

    need("numpy")
    try:
        if tokenizer and kind in ("duo", "gguf"):
            raise StoryError("it carries its own tokenizer: leave --tokenizer out")
        if kind == "duo":
            from duostory.formats import duo
            return duo.read(path)
        if kind == "gguf":
            from duostory.formats import gguf
            return gguf.read(path)
        if kind == "huggingface":
            from duostory.formats import huggingface
            return huggingface.read(path, tokenizer)
        from duostory.formats import llama2c
        return llama2c.read(path, tokenizer)
    except StoryError as e:
        raise StoryError(f"cannot read {path}: {e}") from e
    except OSError as e:
        raise StoryError(f"cannot read {e.filename or path}: {e.strerror}") from e


def convert(src: Path, dst: Path, *, tokenizer: Path | None = None, type: str | None = None,
            group_size: int | None = None, meta: Path | dict[str, str] | None = None) -> str:
    """Writes the model at `src`, of any kind, as the `.duo` file `dst`; returns one line on what was written.

    `type` is "f32", "q8", "q4" or None to keep what the file has: half precision becomes f32, Q8_0 becomes q8 and
    Q4_0 q4. `group_size` is for "q8" and "q4", and 32 when None. `meta` adds metadata: a dictionary, or a file of
    `key: value` lines as docs/format.md has them. Raises StoryError; then `dst` is what it was before.
    """
    src, dst = Path(src), Path(dst)
    checkpoint = read(src, tokenizer)
    from dataclasses import replace

    from duostory.formats import duo
    from duostory.formats.files import sha256

    try:
        metadata = dict(checkpoint.metadata)
        if "source" not in metadata and src.is_file():
            name = os.fsencode(src.name).decode("utf-8", "replace")
            metadata["source"] = f"{name}, sha256 {sha256(src)}"
        if isinstance(meta, dict):
            metadata |= meta
        elif meta is not None:
            metadata |= duo.unpack_metadata(Path(meta).read_bytes())
        duo.write(replace(checkpoint, metadata=metadata).retyped(type, group_size), dst)
    except StoryError as e:
        raise StoryError(f"cannot convert {src}: {e}") from e
    except OSError as e:
        raise StoryError(f"cannot read {e.filename}: {e.strerror}") from e
    return f"{dst}: {dst.stat().st_size / 1e6:.1f} MB"


def export(src: Path, dst: Path, form: str | None = None) -> str:
    """Writes the `.duo` file `src` in another program's form; returns one line on what was written.

    `form` is one of FORMS, or None for the one that the suffix of `dst` (.bin or .gguf) and the weights
    suggest. llama2.c's forms also write tokenizer.bin into the folder of `dst`. Every form keeps the weights
    as they are, except that "gguf-q8_0" and "gguf-q4_0" round scales to half precision. Raises StoryError;
    nothing is changed then.
    """
    src, dst = Path(src), Path(dst)
    if sniff(src) != "duo":
        raise StoryError(f"{src} is not a .duo file: run python -m duostory convert first")
    checkpoint = read(src)
    from duostory.formats import gguf, llama2c

    form = form or default_form(checkpoint, dst)
    try:
        remark = ""
        if form.startswith("llama2c"):
            llama2c.write(checkpoint, dst, version=int(form[-1]))
        else:
            remark = gguf.write(checkpoint, dst, form.removeprefix("gguf-"))
    except StoryError as e:
        raise StoryError(f"cannot export {src} as {form}: {e}") from e
    except OSError as e:
        raise StoryError(f"cannot read {e.filename or src}: {e.strerror}") from e
    return f"{dst}: {form}, {dst.stat().st_size / 1e6:.1f} MB" + (f"; {remark}" if remark else "")


def default_form(checkpoint: "Checkpoint", dst: Path) -> str:
    """The form nearest to the type of the weights, of the program that the suffix names."""
    from duostory.formats.checkpoint import Quantized

    wq = checkpoint.tensors["wq", 0]
    quantized = isinstance(wq, Quantized)
    if dst.suffix == ".bin":
        return "llama2c-v2" if quantized else "llama2c-v0"
    if dst.suffix == ".gguf":
        return f"gguf-q{wq.bits}_0" if quantized and wq.group_size == 32 else "gguf-f32"
    raise StoryError(f"{dst} ends neither in .bin nor in .gguf: say what to write with --to")
