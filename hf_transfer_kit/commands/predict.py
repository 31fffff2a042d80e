"""A transferred model asked about new files: what a recipe has left, read as it was measured.

    hf-transfer predict MODEL_FOLDER photo.jpg more_photos/ [--top 3] [--output predictions.csv]

MODEL_FOLDER is the --output_dir of transfer, finetune, adapt, multitask or zero_shot, or the Hub name of one that was
pushed. What is predicted goes to the terminal as a table, else as csv; rows that cannot be read are named and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_transfer_kit.commands.edge.named_commands import program
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.words import PlainParser
from hf_transfer_kit.errors import SettingsError

_SHOWN = 40
_DTYPES = ("float32", "bfloat16", "float16")


def parser() -> argparse.ArgumentParser:
    """The flags; made without loading a library, so that --help is there at once."""
    made = PlainParser(
        description="Asks a transferred model about new pictures, sounds or texts.",
        usage="%(prog)s MODEL_FOLDER INPUT [INPUT ...] [--top 3] [--output predictions.csv] ...",
    )
    made.add_argument("model", metavar="MODEL_FOLDER", help="Folder that a run has left, or a Hub name.")
    made.add_argument(
        "inputs", metavar="INPUT", nargs="+",
        help="Files, folders (with all below), tables (csv, parquet, json), .txt with a text a line; of a model that "
        "reads texts also a text in quotes.",
    )  # fmt: skip
    asked = made.add_argument_group("what is asked")
    asked.add_argument("--top", type=int, default=3, help="Classes told of each row (default: 3).")
    asked.add_argument("--task", help="Of a network of several tasks the one that is asked (default: all).")
    asked.add_argument("--classes", help="Table of attributes of further classes, for a model of zero_shot.")
    asked.add_argument("--input_column", help="Column of tables; two joined by a comma for pairs of texts.")
    written = made.add_argument_group("where it goes")
    written.add_argument("--output", help="File that ends in .csv, or in .jsonl for one JSON object an answer.")
    written.add_argument("--overwrite", action="store_true", help="Replace that file where it is there.")
    computed = made.add_argument_group("how it is computed")
    computed.add_argument("--batch_size", type=int, default=32, help="Rows at once (default: 32).")
    computed.add_argument("--device", help="Such as cpu or cuda:1 (default: a GPU where there is one).")
    computed.add_argument("--dtype", choices=_DTYPES, default="float32", help="Of the arithmetic (default: float32).")
    computed.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    computed.add_argument("--disable_tqdm", action="store_true", help="No progress bar (there is none in a log).")
    return made


def main(argv: list[str] | None = None) -> None:
    given = parser().parse_args(argv)

    from hf_transfer_kit.predicting import check_output_file, load_transferred, typed_inputs

    output = check_output_file(given.output, overwrite=given.overwrite) if given.output else None
    stage("Loading the model")
    model = load_transferred(
        given.model, classes=given.classes, device=given.device, dtype=given.dtype, revision=given.revision
    )
    inputs = typed_inputs(given.inputs, model.kinds)
    if output is not None and "text" in model.kinds:
        _check_apart(output, inputs)
    found = model(
        inputs,
        task=given.task,
        top=given.top,
        batch_size=given.batch_size,
        input_column=given.input_column,
        progress=False if given.disable_tqdm else None,
    )
    for skipped in found.skipped:
        print(f"Skipped {skipped.row}: {skipped.reason}.", file=sys.stderr)
    if not found:
        of_all = f"of {len(found.skipped):,} " if len(found.skipped) > 1 else ""
        sys.exit(f"{program()}: No row {of_all}could be read, so nothing was predicted.")
    if output is not None:
        found.save(output, overwrite=given.overwrite)
        print(f"{len(found):,} predictions are in {output}.")
    elif sys.stdout.isatty():
        print(found.table(_SHOWN))
    else:
        found.write(sys.stdout, ".csv")


def _check_apart(output: Path, inputs: Sequence[str | Path]) -> None:
    """Refuses an output among tables that are read."""
    folders = [path.resolve() for path in inputs if isinstance(path, Path) and path.is_dir()]
    if any(output.resolve().is_relative_to(folder) for folder in folders):
        raise SettingsError(
            f"--output {output} lies in a folder of texts that is read, so that it would be read as data the next "
            "time. Choose a place outside it."
        )
