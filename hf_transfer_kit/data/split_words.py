"""Which split a file or a split of somebody else's is, told by whole words of its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)

SPLIT_NAMES = {
    "train": ("train", "training", "trainset"),
    "validation": ("validation", "valid", "dev", "val", "devel", "development", "valset", "devset"),
    "test": ("test", "testing", "eval", "evaluation", "testset"),
}
"""Split -> the words for it, as ``datasets`` knows them, and those made of them."""


T = TypeVar("T")


def split_of(name: str) -> str | None:
    """The split that the words of a name tell, in any case; None where none or several do."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    found = [split for split, known in SPLIT_NAMES.items() if words & set(known)]
    return found[0] if len(found) == 1 else None


def is_split_word(name: str) -> bool:
    """Whether a name is a word for a split and nothing else."""
    return any(name.lower() in words for words in SPLIT_NAMES.values())


def files_by_split(files: Iterable[Path], root: Path, *, by_folder: bool = False) -> dict[str, list[Path]]:
    """Files by the split that their name, or else a folder that they lie in, tells.

    Without one for train, those whose names tell nothing are train; beside one, they are left out. What is doubtful is
    said.

    Args:
        files: The files.
        root: The folder above all of them.
        by_folder: Only folders count: pictures are often called after what they show.
    """
    found: dict[str, list[Path]] = {}
    unknown: list[Path] = []
    for file in files:
        parts = file.relative_to(root).parts
        folders = [*reversed(parts[:-1])]
        if by_folder:  # the folder of a class may be called bullet_train
            names = [name for depth, name in enumerate(folders) if depth or is_split_word(name)]
        else:
            names = [file.name.split(".")[0], *folders]
        split = next((told for name in names if (told := split_of(name))), None)
        unknown.append(file) if split is None else found.setdefault(split, []).append(file)
    if unknown and "train" not in found:
        if found:
            logger.warning(f"{_named(unknown, root)} of {root.name} is taken for train, beside {', '.join(found)}.")
        found["train"] = unknown
    elif unknown:
        logger.warning(f"{_named(unknown, root)} of {root.name} is left out: no word of its name tells a split.")
    for file in found.get("test", ()):
        if by_folder is False and not {"test", "testing", "testset"} & set(re.split(r"[^a-z]+", file.name.lower())):
            logger.warning(f"{file.relative_to(root)} is taken for test.")
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def renamed_splits(found: Mapping[str, T]) -> dict[str, T]:
    """Splits under the names train, validation and test; others are left out, and said.

    One whose name is a word for it comes first; else one of whose words tells it, where it is the only one.
    """
    splits: dict[str, T] = {}
    taken: dict[str, str] = {}
    lowered = {key.lower(): key for key in found}
    for split, words in SPLIT_NAMES.items():
        exact = next((lowered[word] for word in words if word in lowered), None)
        told = [key for key in found if split_of(key) == split]
        key = exact if exact is not None else (told[0] if len(told) == 1 else None)
        if key is not None:
            splits[split] = found[key]
            taken[key] = split
    doubtful = [f"{key} is taken for {split}" for key, split in taken.items() if key.lower() != split]
    left = [key for key in found if key not in taken]
    if splits and (doubtful or left):
        logger.warning(f"Of the splits {', '.join(doubtful + [f'{key} is left out' for key in left])}.")
    return splits


def _named(files: list[Path], root: Path) -> str:
    names = [str(file.relative_to(root)) for file in files[:3]]
    return ", ".join(names) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
