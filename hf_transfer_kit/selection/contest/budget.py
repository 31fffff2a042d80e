"""One budget for every strategy of a race, and the learning rates used where the user gives none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hf_transfer_kit.argument_types import check_types, hints_of
from hf_transfer_kit.errors import SettingsError

# AdamW's customary rates: a fresh linear layer bears a large one, pretrained weights a small one, random weights lie
# between. Transformers of texts and sounds want smaller ones than convolutions (sounds: model_cards/README.md).
DEFAULT_RATES = {
    "image": {"head": 5e-3, "body": 5e-4, "scratch": 1e-3},
    "text": {"head": 5e-3, "body": 1e-4, "scratch": 3e-4},
    "audio": {"head": 5e-3, "body": 1e-4, "scratch": 1e-3},
}

USUAL_STEPS = 300
"""Most steps of a run that does them all, where the user says nothing."""

# Devlin et al. 2019 fine-tune text encoders for 2 to 4 passes; images and sounds are smaller data, and want more.
DEFAULT_EPOCHS = {"image": 8, "text": 3, "audio": 8}


@dataclass(frozen=True)
class Budget:
    """What each strategy may spend.

    Args:
        max_steps: Optimizer steps of a run, with ``patience`` or ``max_minutes`` at most.
        batch_size: Rows a step, over all processes and accumulated batches.
        evaluations: How often the validation split is looked at during a run, the end included.
        learning_rate: One rate for all strategies; None gives each the default of its kind (``DEFAULT_RATES``).
        patience: Evaluations in a row that bring nothing better, after which a run ends (``UntilFlat``); None lets each
            go on to the last step.
        max_minutes: Wall time of a run, after which it ends; None sets no limit.

    Example:
        >>> Budget(max_steps=300, batch_size=32, evaluations=5).eval_steps
        60
    """

    max_steps: int
    batch_size: int
    evaluations: int = 5
    learning_rate: float | None = None
    patience: int | None = None
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        check_types("Budget", vars(self), hints_of(Budget))
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise SettingsError(f"Budget: learning_rate={self.learning_rate} must be above 0.")
        if self.max_steps < 1 or self.batch_size < 1 or self.evaluations < 1:
            raise SettingsError(
                f"A budget of {self.max_steps} steps, {self.batch_size} rows a step and {self.evaluations} evaluations "
                "cannot be spent: each must be at least 1."
            )
        if (self.patience is not None and self.patience < 1) or (
            self.max_minutes is not None and self.max_minutes <= 0
        ):
            raise SettingsError(
                f"Budget: patience={self.patience} must be at least 1, and max_minutes={self.max_minutes} above 0."
            )
        if self.patience is not None and self.patience >= self.evaluations:
            raise SettingsError(
                f"A patience of {self.patience} looks never ends a run that is looked at {self.evaluations} times: "
                "give more evaluations, or less patience."
            )

    @property
    def is_open(self) -> bool:
        """Whether a run may end before its last step."""
        return self.patience is not None or self.max_minutes is not None

    def of_known_length(self) -> Budget:
        """The same for runs that are compared at equal steps: of an open budget at most ``USUAL_STEPS``, all done.

        Example:
            >>> Budget(9000, 32, patience=3).of_known_length().max_steps
            300
        """
        if not self.is_open:
            return self
        return replace(self, max_steps=min(self.max_steps, USUAL_STEPS), patience=None, max_minutes=None)

    @property
    def eval_steps(self) -> int:
        """Steps between two evaluations."""
        return math.ceil(self.max_steps / self.evaluations)

    def rate(self, reads: str, kind: str) -> float:
        """Learning rate for a strategy of this kind (``head``, ``body`` or ``scratch``) and what the network reads."""
        return self.learning_rate if self.learning_rate is not None else DEFAULT_RATES[reads][kind]


def default_steps(rows: int, batch_size: int, modality: str, *, least: int = 50, most: int | None = USUAL_STEPS) -> int:
    """Steps for the usual number of passes over ``rows`` rows, at least ``least`` and at most ``most`` (None: any).

    Example:
        >>> default_steps(1000, 32, "image")
        250
    """
    steps = max(math.ceil(DEFAULT_EPOCHS[modality] * rows / batch_size), least)
    return steps if most is None else min(steps, most)
