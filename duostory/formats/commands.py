"""The commands `convert` and `export`."""

import argparse
import sys
from pathlib import Path

from duostory.formats import FORMS


def register(subparsers: argparse._SubParsersAction) -> None:
    """Adds both commands; each parser's `run` takes the parsed arguments and returns the exit status."""
    convert = subparsers.add_parser("convert", help="turn a model of another program into a .duo file")
    convert.add_argument("source", metavar="IN", type=Path,
                         help="llama2.c checkpoint, GGUF file, Hugging Face folder, or .duo file")
    convert.add_argument("target", metavar="OUT.duo", type=Path, help="file to write")
    convert.add_argument("-z", "--tokenizer", metavar="FILE", type=Path,
                         help="tokenizer.bin or tokenizer.model (default: the one beside IN)")
    convert.add_argument("--type", choices=("f32", "q8", "q4"), help="type of the weights (default: as they are)")
    convert.add_argument("--group-size", metavar="N", type=int,
                         help="weights that share a scale in q8 and q4 (default: 32)")
    convert.add_argument("--meta", metavar="FILE", type=Path,
                         help="lines `key: value` to keep in the model, such as title and provenance")
    convert.set_defaults(run=convert_main)

    export = subparsers.add_parser(
        "export", help="write a .duo file in another program's form",
        description="Write a .duo file in another program's form. Every form keeps the weights as they are, "
                    "but for two: gguf-q8_0 and gguf-q4_0, llama.cpp's usual forms, have scales in half precision, "
                    "and those of the model are rounded to it, so a story may turn out otherwise; gguf-f32 keeps "
                    "every weight.")
    export.add_argument("source", metavar="MODEL.duo", type=Path)
    export.add_argument("target", metavar="OUT", type=Path,
                        help="file to write; llama2.c's forms also put tokenizer.bin beside it")
    export.add_argument("--to", choices=FORMS,
                        help="form (default: by the suffix of OUT, .bin or .gguf, and the type of the weights; "
                             "a q8 or q4 model in groups of 32 becomes gguf-q8_0 or gguf-q4_0)")
    export.set_defaults(run=export_main)


def convert_main(args: argparse.Namespace) -> int:
    """Runs `convert`; returns 0 or raises StoryError."""
    from duostory.formats import convert

    report = convert(args.source, args.target, tokenizer=args.tokenizer, type=args.type,
                     group_size=args.group_size, meta=args.meta)
    print(report, file=sys.stderr)
    return 0


def export_main(args: argparse.Namespace) -> int:
    """Runs `export`; returns 0 or raises StoryError."""
    from duostory.formats import export

    print(export(args.source, args.target, args.to), file=sys.stderr)
    return 0
