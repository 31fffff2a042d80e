"""Runs that end when their validation metric has flattened: by which metric, and on which rows they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import cast

from torch.utils.data import Dataset, Subset
from transformers import Trainer

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.flattening import OF_ACCURACY, UntilFlat, logged_looks
from hf_transfer_kit.selection.finetuning.task_judging import judging_of
from hf_transfer_kit.values.rows import evenly_spread

ROWS_OF_LOOKS = 1000
"""Most validation rows that an open run reads each time it is looked at; its figures are of all."""


def until_flat(data: PreparedData, budget: Budget) -> UntilFlat:
    """What ends a run of an open budget: by the metric that is chosen by."""
    judging = judging_of(data)
    return UntilFlat(
        budget,
        logged_looks(f"eval_{judging.metric}", judging.sign),
        ramp=0.0,
        least=OF_ACCURACY if data.task_type == CLASSIFICATION else 0.0,
    )


@contextmanager
def looked_at_some(trainer: Trainer, budget: Budget) -> Iterator[None]:
    """While it lasts, evaluations of an open run, which are many, read at most ``ROWS_OF_LOOKS`` validation rows."""
    whole = cast(Dataset, trainer.eval_dataset)
    size = len(cast(Sized, whole))
    if budget.is_open and size > ROWS_OF_LOOKS:
        trainer.eval_dataset = Subset(whole, evenly_spread(size, ROWS_OF_LOOKS))
    try:
        yield
    finally:
        trainer.eval_dataset = whole
