"""Features of a dataset, computed once and written to files.

    hf-transfer features --model_name_or_path MODEL --dataset DATASET --format safetensors

Writes features and classes of each split to --output_dir, and features.json, which says what they are. Without
arguments it extracts the features of digits on photographs from a small network that learned scikit-learn's digits.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from datasets.arrow_writer import ArrowWriter
from safetensors.torch import save_file
from torch import Tensor

from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments
from hf_transfer_kit.commands.edge.sharing import refuse_push
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import DataArguments, uses_embedded_example
from hf_transfer_kit.commands.flags.network_arguments import NetworkArguments
from hf_transfer_kit.commands.flags.run_arguments import OneSeedArguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import CachedFeatures, cache_features
from hf_transfer_kit.features.pooling import POOLINGS
from hf_transfer_kit.features.precision import DTYPES
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
        default=None, metadata={"help": "mean, first or last position of a layer group; default: all positions."}
    )
    format: str = field(default="arrow", metadata={"help": "arrow (datasets reads it) or safetensors."})
    dtype: str = field(default="float32", metadata={"help": "float32, float16, or (safetensors only) bfloat16."})
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where features are kept for the next run; default: beside those of datasets."}
    )

    def check(self) -> None:
        """Refuses what could not be written, before any work."""
        check_choice("--format", self.format, tuple(WRITERS))
        check_choice("--dtype", self.dtype, DTYPES)
        if self.pooling is not None:
            check_choice("--pooling", self.pooling, POOLINGS)
        if (self.format, self.dtype) == ("arrow", "bfloat16"):
            raise SettingsError("Arrow has no bfloat16. Give --format safetensors, or --dtype float16.")

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

FLAGS = (NetworkArguments, DataArguments, FeatureArguments, OneSeedArguments)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, feature_args, args = parse_arguments(*FLAGS, recipe="extract_features")
    feature_args.check()
    refuse_push(args, "share its features with the push_to_hub of datasets")
    folder = Path(args.output_dir)
    files = [f"{split}.{feature_args.format}" for split in SPLITS]
    checked_output(args, model_args, data_args, names=(SUMMARY, *files))
    if (folder / SUMMARY).exists() and not args.overwrite_output_dir:
        raise SettingsError(
            f"--output_dir {folder} holds features already. Choose another folder, or give --overwrite_output_dir."
        )
    uses_embedded_example(model_args, data_args, args, train_size=None)

    with args.main_process_first():
        loaded = data_args.load()
    model = model_args.model_maker(loaded)(args.seed).to(args.device)
    with args.main_process_first():
        data = data_args.prepare(loaded, model_args.processor(model))

    cached_splits = {}
    for split in SPLITS:
        stage("Computing features")
        cached_splits[split] = cache_features(
            model,
            getattr(data, split),
            layer=feature_args.layer_name,
            pooling=feature_args.pooling,
            collator=data.collator,
            batch_size=args.per_device_eval_batch_size,
            dtype=feature_args.dtype,
            cache_dir=feature_args.cache_dir,
            progress=not args.disable_tqdm,
        )
    splits = {split: described(cached, f"{split}.{feature_args.format}") for split, cached in cached_splits.items()}
    if not args.should_save:
        return
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
    with written_beside(folder, whole=True, overwrite=args.overwrite_output_dir) as staged:
        for split, cached in cached_splits.items():
            WRITERS[feature_args.format](staged / splits[split]["file"], cached)
            print(f"{split}: {len(cached)} rows of {splits[split]['shape']} in {cached.seconds:.1f} s")
        (staged / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    print(f"The features are in {folder}; {SUMMARY} says what they are.")


def described(cached: CachedFeatures, file: str) -> dict[str, object]:
    """What ``features.json`` says of a split; null in the shape is a length that differs from row to row."""
    shape = next(column.shape for column in cached.store.columns if column.name == "features")
    return {
        "file": file,
        "rows": len(cached),
        "shape": list(shape),
        "fingerprint": cached.store.path.name,
        "seconds": round(cached.seconds, 3),
    }
