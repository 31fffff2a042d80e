"""Which checkpoints of a folder the kit wrote, and for which run: others are neither replaced nor cleaned away."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

STATE = "trainer_state.json"
GUARD = "GuardCheckpoints"
"""Under which name ``trainer_state.json`` keeps what the guard knows."""
_MARK = "hf_transfer_kit_checkpoint.json"


def mark(folder: Path, facts: Mapping[str, Any]) -> None:
    """Makes a checkpoint's folder, and writes into it first whose it is: killed before its end, it is known too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text(json.dumps(facts), encoding="utf-8")


def facts_of(folder: Path) -> dict[str, Any] | None:
    """The facts of the run that a checkpoint is of; None where the kit did not write it."""
    try:
        found = json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = kept(read_state(folder) or {})
        return (state.get("args", {}).get("facts") or {}) if state else None
    return found if isinstance(found, dict) else None


def read_state(folder: Path) -> dict[str, Any] | None:
    """What Trainer wrote last into a checkpoint; None where it did not come to that."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and isinstance(state.get("global_step"), int) else None


def kept(state: Mapping[str, Any]) -> dict[str, Any]:
    """What ``GuardCheckpoints`` wrote; empty where it took no part."""
    found = (state.get("stateful_callbacks") or {}).get(GUARD, {})
    return found[0] if isinstance(found, list) else found


def newest_first(output_dir: Path) -> list[Path]:
    """Folders named as Trainer names checkpoints, of the highest step first."""
    found = [
        (step, path) for path in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if (step := step_of(path)) is not None
    ]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir()]


def step_of(folder: Path) -> int | None:
    """The step in a checkpoint's name; None where it has another name."""
    match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d{{1,18}})", folder.name)
    return int(match[1]) if match else None


def in_the_way(output_dir: Path, facts: Mapping[str, Any], steps: range, *, overwrite: bool) -> list[Path]:
    """Checkpoints that a run must not write over.

    Args:
        output_dir: Trainer's.
        facts: Of this run.
        steps: That it will go through.
        overwrite: Whether those that the kit wrote for other runs may be replaced.
    """
    found = []
    for folder in newest_first(output_dir):
        if step_of(folder) not in steps:
            continue
        written = facts_of(folder)
        theirs = any(folder.iterdir()) if written is None else written != facts and not overwrite
        found += [folder] if theirs else []
    return found


def remove_older(output_dir: Path, facts: Mapping[str, Any], *, limit: int | None, best: str | None) -> None:
    """Leaves so many checkpoints of this run, the newest ones and the best, as Trainer would of all that lie there.

    Args:
        output_dir: Trainer's.
        facts: Of this run.
        limit: ``save_total_limit``; None and numbers below 1 keep all.
        best: ``best_model_checkpoint``.
    """
    if limit is None or limit < 1:
        return
    own = [folder for folder in newest_first(output_dir) if facts_of(folder) == facts]
    own.sort(key=lambda folder: folder.stat().st_mtime_ns, reverse=True)  # a run begun anew counts from 1 again
    best_one = [folder for folder in own if best is not None and folder.resolve() == Path(best).resolve()]
    left = [*own[:1], *best_one, *own[1:]]  # training goes on from the newest
    keep = max(limit, len({*own[:1], *best_one}))
    for folder in list(dict.fromkeys(left))[keep:]:
        shutil.rmtree(folder, ignore_errors=True)
