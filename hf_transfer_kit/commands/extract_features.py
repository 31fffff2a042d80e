"""Features of a dataset, computed once and written to files.

    hf-transfer features --model_name_or_path MODEL --dataset DATASET --format safetensors

Writes features and classes of each split to --output_dir, and features.json, which says what they are. Without
arguments it extracts the features of digits on photographs from a small network that learned scikit-learn's digits.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets.arrow_writer import ArrowWriter
from safetensors.torch import save_file
from torch import Tensor, nn

from hf_transfer_kit.backbones import fit_window
from hf_transfer_kit.backbones.pooling import POOLINGS
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments
from hf_transfer_kit.commands.edge.sharing import refuse_push
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import DataArguments, uses_embedded_example
from hf_transfer_kit.commands.flags.network_arguments import NetworkArguments
from hf_transfer_kit.commands.flags.run_arguments import OneSeedArguments
from hf_transfer_kit.commands.flags.stream_arguments import StreamArguments
from hf_transfer_kit.data.streamed import StreamedData, StreamedRows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import CachedFeatures, cache_features
from hf_transfer_kit.features.cached_features import FEATURES
from hf_transfer_kit.features.precision import DTYPES
from hf_transfer_kit.features.shards import Column, arrow_features
from hf_transfer_kit.features.stream_features import stream_features
from hf_transfer_kit.hub import written_beside

SUMMARY = "features.json"
SPLITS = ("train", "validation", "test")


@dataclass
class FeatureArguments:
    """Which features, and how they are written."""

    layer: str = field(
        default="pooled",
        metadata={"help": "pooled: what enters the head. Or name or depth of a layer group, as layer_groups prints."},
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "help": "mean, first, last, max or statistics (mean and spread) of a layer group's positions; default: all."
        },
    )
    format: str = field(default="arrow", metadata={"help": "arrow (datasets reads it) or safetensors."})
    dtype: str = field(default="float32", metadata={"help": "float32, float16, or (safetensors only) bfloat16."})
    only_splits: list[str] = field(
        default_factory=list, metadata={"help": "Of train, validation and test those that are wanted; default: all."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where features are kept for the next run; default: beside those of datasets."}
    )

    def check(self) -> None:
        """Refuses what could not be written, before any work."""
        check_choice("--format", self.format, tuple(WRITERS))
        check_choice("--dtype", self.dtype, DTYPES)
        for split in self.only_splits:
            check_choice("--only_splits", split, SPLITS)
        if self.pooling is not None:
            check_choice("--pooling", self.pooling, POOLINGS)
        if (self.format, self.dtype) == ("arrow", "bfloat16"):
            raise SettingsError("Arrow has no bfloat16. Give --format safetensors, or --dtype float16.")

    def check_streaming(self, args: OneSeedArguments) -> None:
        """Refuses what a stream cannot be written as, or read by."""
        if self.format != "arrow":
            raise SettingsError(
                f"--format {self.format} holds one tensor a column, for which all rows of a stream would have to be "
                "held. Leave --format out: arrow takes them as they come."
            )
        if args.world_size > 1:
            raise SettingsError(
                f"--streaming reads its rows in one process, but there are {args.world_size}. Start one, or give each "
                "its own files and --output_dir."
            )

    def wanted(self, there: Iterable[str]) -> list[str]:
        """The splits that are asked for, of those that are there.

        Raises:
            SettingsError: When one is not there.
        """
        splits = [split for split in SPLITS if split in there]
        missing = [split for split in self.only_splits if split not in splits]
        if missing:
            raise SettingsError(
                f"--only_splits {missing[0]} is not there: the stream has {', '.join(splits)}, and none is made of it."
            )
        return [split for split in splits if not self.only_splits or split in self.only_splits]

    @property
    def layer_name(self) -> str | int:
        """The layer as ``cache_features`` takes it: a number is a depth."""
        return int(self.layer) if re.fullmatch(r"-?[0-9]+", self.layer) else self.layer


def write_arrow(path: Path, cached: CachedFeatures) -> None:
    """One Arrow file that ``datasets.Dataset.from_file`` opens; rows with several axes are flat."""
    table = cached.dataset.with_format("arrow")
    with ArrowWriter(path=str(path), features=table.features) as writer:
        for part in table.iter(1000):
            writer.write_table(part)
        writer.finalize()


def write_safetensors(path: Path, cached: CachedFeatures) -> None:
    """One tensor a column, of shape (rows, ...)."""
    columns = cached.batch(range(len(cached)))
    if not all(isinstance(values, Tensor) for values in columns.values()):
        raise SettingsError(
            "Rows of this layer differ in length, so they are no one tensor. Give --pooling mean, or --format arrow."
        )
    save_file(columns, path)


WRITERS = {"arrow": write_arrow, "safetensors": write_safetensors}

FLAGS = (NetworkArguments, DataArguments, StreamArguments, FeatureArguments, OneSeedArguments)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, stream_args, feature_args, args = parse_arguments(*FLAGS, recipe="extract_features")
    feature_args.check()
    if stream_args.streaming:
        feature_args.check_streaming(args)
    refuse_push(args, "share its features with the push_to_hub of datasets")
    folder = Path(args.output_dir)
    files = [f"{split}.{feature_args.format}" for split in SPLITS]
    checked_output(args, model_args, data_args, names=(SUMMARY, *files))
    if (folder / SUMMARY).exists() and not args.overwrite_output_dir:
        raise SettingsError(
            f"--output_dir {folder} holds features already. Choose another folder, or give --overwrite_output_dir."
        )
    uses_embedded_example(model_args, data_args, args, train_size=None)

    options = {
        "layer": feature_args.layer_name,
        "pooling": feature_args.pooling,
        "batch_size": args.per_device_eval_batch_size,
        "dtype": feature_args.dtype,
    }
    with args.main_process_first():
        loaded = stream_args.load(data_args) if stream_args.streaming else data_args.load()
    model = model_args.model_maker(loaded)(args.seed).to(args.device)
    processor = model_args.processor(model)
    if isinstance(loaded, StreamedData):
        inputs = stream_args.inputs(data_args, loaded, processor)
        fit_window(model, inputs.processor)
        streams = {
            split: StreamedRows(loaded, split, inputs, skip=data_args.skip_bad_rows)
            for split in feature_args.wanted(loaded.splits)
        }
        writers = {split: partial(write_stream, model=model, rows=rows, **options) for split, rows in streams.items()}
    else:
        with args.main_process_first():
            data = data_args.prepare(loaded, processor)
        fit_window(model, data.processor)
        cached_splits = {}
        for split in feature_args.wanted(SPLITS):
            stage("Computing features")
            cached_splits[split] = cache_features(
                model,
                getattr(data, split),
                collator=data.collator,
                cache_dir=feature_args.cache_dir,
                progress=not args.disable_tqdm,
                **options,
            )
        write = WRITERS[feature_args.format]
        writers = {split: partial(write_cached, write, cached=cached) for split, cached in cached_splits.items()}
    if not args.should_save:
        return
    with written_beside(folder, whole=True, overwrite=args.overwrite_output_dir) as staged:
        splits = {}
        for split, writer in writers.items():
            splits[split] = writer(staged / f"{split}.{feature_args.format}")
            print("{0}: {rows} rows of {shape} in {seconds:.1f} s".format(split, **splits[split]))
        summary = {
            "model": model_args.display_name,
            "dataset": loaded.name,
            "layer": feature_args.layer,
            "pooling": feature_args.pooling,
            "dtype": feature_args.dtype,
            "label_names": list(loaded.label_names),
            "splits": splits,
            "seconds": round(time.perf_counter() - started, 3),
            "command": command_line(),
        }
        (staged / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    print(f"The features are in {folder}; {SUMMARY} says what they are.")


def write_cached(
    write: Callable[[Path, CachedFeatures], None], path: Path, cached: CachedFeatures
) -> dict[str, object]:
    """Writes a split, and returns what ``features.json`` says of it; null in the shape: it differs from row to row."""
    write(path, cached)
    return {
        "file": path.name,
        "rows": len(cached),
        "shape": _shape(cached.store.columns),
        "fingerprint": cached.store.path.name,
        "seconds": round(cached.seconds, 3),
    }


def write_stream(path: Path, model: nn.Module, rows: StreamedRows, **options: Any) -> dict[str, object]:
    """Writes the file that ``write_arrow`` would write of the same rows, a batch at a time; returns the like of it."""
    stage(f"Computing features of {rows.split}")
    started = time.perf_counter()
    batches = stream_features(model, rows, collator=rows.inputs.collator, **options)
    columns, first = next(batches)
    with ArrowWriter(path=str(path), features=arrow_features(columns)) as writer:
        for _, batch in chain([(columns, first)], batches):
            writer.write_table(pa.Table.from_batches([batch]))
        count, _ = writer.finalize()
    return {
        "file": path.name,
        "rows": count,
        "shape": _shape(columns),
        "skipped_rows": rows.skipped,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _shape(columns: Sequence[Column]) -> list[int | None]:
    return list(next(column.shape for column in columns if column.name == FEATURES))
