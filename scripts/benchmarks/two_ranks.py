"""Every recipe as one process and as two, and how far its figures are apart: a table in Markdown.

    python scripts/benchmarks/two_ranks.py

The same command runs twice, once under torchrun with two processes, on a small ViT without BatchNorm and dropout (what
a process draws and normalises by itself is its own), with rows a step that two do not divide evenly and epochs that end
with fewer. Compared are all numbers of report.json but times, sizes of what was spent, and places in pictures of t-SNE.
A run whose figures are further apart than 1e-4, or whose choice differs, is marked, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

ROOT = Path(__file__).resolve().parents[2]
_TUNED = ("--model_name_or_path", "{network}", "--dataset", "digits_m", "--train_size", "50", "--augment", "false")
_STEPS = ("--max_steps", "12", "--batch_size", "9", "--evaluations", "2")
_ADAPTED = ("adapt.py", "--model_name_or_path", "{network}", *_STEPS, "--seeds", "0", "--augment", "false")
COMMANDS = {
    "run, six strategies": ("transfer.py", *_TUNED, *_STEPS, "--seeds", "0", "1"),
    "finetune l2sp": ("finetune.py", *_TUNED, *_STEPS, "--strategy", "l2sp"),
    "finetune auto": ("finetune.py", *_TUNED, *_STEPS, "--strategy", "auto"),
    "depth": ("search_depth.py", *_TUNED, *_STEPS, "--seeds", "0", "--depths", "0", "1", "2"),
    "adapt dann": (*_ADAPTED, "--method", "source_only", "dann"),
    "adapt mmd, adamatch": (*_ADAPTED, "--method", "source_only", "mmd", "adamatch:amount=0,invert=false"),
    "adapt without a source": (
        "adapt.py",
        "--source_model",
        "{network}",
        "--target",
        "digits_m",
        *_STEPS,
        "--seeds",
        "0",
        "--augment",
        "false",
        "--methods",
        "tent",
        "shot",
    ),
    "multitask": ("multitask.py", "--model_name_or_path", "{network}", *_STEPS[:4], "--seeds", "0"),
    "zero-shot, trained": (
        "zero_shot.py",
        "--model_name_or_path",
        "{network}",
        "--dataset",
        "digits",
        "--attributes",
        "digit_strokes",
        "--splits",
        "2",
        "--train_network",
        "8",
        "--batch_size",
        "9",
    ),
    "advise": ("advise.py", "--models", "{network}", *_TUNED[2:], *_STEPS[:4]),
}
"""What is run, without its folders."""
_NOT_FIGURES = (
    "seconds",
    "versions",
    "command",
    "cache",
    "memory",
    "feature_maps",
    "energy",
    "date",
    "rows_per_second",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), metavar="CASE")
    parser.add_argument("--keep", type=Path, help="Folder for what the commands leave; default: none is kept.")
    flags = parser.parse_args()
    failed = 0
    print("| command | figures compared | largest difference | same choice |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = flags.keep or Path(made)
        network = small_network(folder / "network")
        for name in flags.only:
            command = [word.format(network=network) for word in COMMANDS[name]]
            one, two = (ran(command, folder / name.replace(" ", "_") / str(ranks), ranks) for ranks in (1, 2))
            count, furthest, others = compared(one, two)
            wrong = furthest > 1e-4 or bool(others)
            failed += wrong
            said = "yes" if not others else f"no: {others[0]}"
            print(f"| {'**' * wrong}{name}{'**' * wrong} | {count:,} | {furthest:.1e} | {said} |", flush=True)
    return int(failed > 0)


def small_network(folder: Path) -> Path:
    """A ViT with weights that are random, always the same ones, and what prepares its pictures."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    labels = {str(digit): digit for digit in range(10)}
    config = ViTConfig(
        image_size=28, patch_size=7, **sizes, label2id=labels, id2label={v: k for k, v in labels.items()}
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def ran(command: Sequence[str], folder: Path, ranks: int) -> dict[str, Any]:
    """The report of a command, run by so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    words = [sys.executable, *launcher, str(ROOT / "scripts" / command[0]), *command[1:], "--output_dir", str(folder)]
    done = subprocess.run(
        [*words, "--use_cpu"], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return json.loads((folder / "report.json").read_text())


def compared(one: Any, two: Any) -> tuple[int, float, list[str]]:
    """How many numbers were compared, their largest difference, and where words differ."""
    count, furthest, others = 0, 0.0, []
    for place, first, second in pairs(one, two):
        if isinstance(first, float) and isinstance(second, float):
            count, furthest = count + 1, max(furthest, abs(first - second) / max(1.0, abs(first)))
        elif first != second:
            others.append(place)
    return count, furthest, others


def pairs(one: Any, two: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Values of two reports at the same place."""
    if any(word in place.rsplit("/", 1)[-1] for word in _NOT_FIGURES):
        return
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for name in one:
            yield from pairs(one[name], two[name], f"{place}/{name}")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for index, values in enumerate(zip(one, two, strict=True)):
            yield from pairs(*values, f"{place}/{index}")
    else:
        yield place, one, two


if __name__ == "__main__":
    sys.exit(main())
