"""A trained classifier learns further classes beside its own: which strategies may, what holds the old ones, and what
is left of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.replay import ChosenRows, JoinedRows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.strategies import Strategy
from hf_transfer_kit.selection.strategies.specification import strategy_text
from hf_transfer_kit.values import Growing

_CANNOT = {
    "from_scratch": "draws all weights anew, those of the old classes too",
    "co_tuning": "teaches the old head beside a new one, but here they are one",
}


def check_keeps(strategy: Strategy) -> None:
    """Refuses strategies that leave nothing of the old classes, or whose depth is found by short runs of its own.

    Raises:
        SettingsError: Naming what it does.
    """
    if strategy.name in _CANNOT:
        raise SettingsError(
            f"--strategy {strategy_text(strategy)} {_CANNOT[strategy.name]}, so it cannot go with --old_classes kept. "
            "Choose another one, such as full or layerwise."
        )
    if strategy.begins_solved:
        raise SettingsError(
            f"--strategy {strategy_text(strategy)} begins with a new head, and --old_classes kept with the old "
            "one. Leave head=probe out."
        )
    if strategy.searched:
        raise SettingsError(
            f"--strategy {strategy_text(strategy)} finds its depth for new classes alone, and nothing tells what that "
            "costs the old ones. With --old_classes kept give a number."
        )


def joined_data(new: PreparedData, old: PreparedData) -> PreparedData:
    """Rows of new classes, then those of old ones, in every split.

    Args:
        new: Prepared with the classes of both.
        old: Prepared alike (``prepare_data(like=new)``), with classes counted as in ``new``.
    """
    rows: dict[str, Any] = {split: JoinedRows([getattr(new, split), getattr(old, split)]) for split in SPLITS}
    return replace(new, **rows)


def old_accuracy(source: PreTrainedModel, data: PreparedData, args: TrainingArguments) -> float | None:
    """Share of the test rows of the network's own classes that it names rightly, among these; None without such rows.

    Args:
        source: The network as it came.
        data: Prepared, with its classes counted first.
        args: How to evaluate; on every process the same comes out.
    """
    classes = np.array(classes_of(data.test))
    places = np.flatnonzero(classes < source.config.num_labels)
    if not len(places):
        return None
    to_channels_last(source, data)
    judging = copy.copy(args)
    judging.eval_strategy = judging.save_strategy = "no"
    judging.load_best_model_at_end = judging.push_to_hub = False
    judging.report_to = []
    trainer = Trainer(source, judging, data_collator=data.collator)
    trainer.remove_callback(PrinterCallback)
    said = trainer.predict(ChosenRows(data.test, places)).predictions
    logits = said[0] if isinstance(said, tuple) else said
    return float((np.asarray(logits).argmax(axis=-1) == classes[places]).mean())


def grown(
    true: np.ndarray,
    predicted: np.ndarray,
    old: tuple[str, ...],
    new: tuple[str, ...],
    *,
    before: float | None,
    kept_by: tuple[str, ...] = (),
    replayed: Mapping[str, int] | None = None,
) -> Growing:
    """What is left of the old classes.

    Args:
        true: Class of each test row, the old ones first, of shape (rows,).
        predicted: What the network with all classes says, of shape (rows,).
        old: Names of the old classes.
        new: Names of the others.
        before: Accuracy of the network as it came on rows of old classes; None without such rows.
        kept_by: What held them, for people.
        replayed: Old class -> its rows in training.
    """
    right, is_old = predicted == true, true < len(old)
    after = float(right[is_old].mean()) if is_old.any() else None
    return Growing(
        old_classes=old,
        new_classes=new,
        kept_by=kept_by,
        overall=float(right.mean()),
        new=float(right[~is_old].mean()) if (~is_old).any() else None,
        before=before,
        after=after,
        forgetting=None if before is None or after is None else before - after,
        old_rows=int(is_old.sum()),
        new_rows=int((~is_old).sum()),
        replayed=dict(replayed or {}),
    )
