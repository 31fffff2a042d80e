"""A run whose loss or figures are no numbers any more: stopped at once, and said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.errors import NotFiniteError
from hf_transfer_kit.tuning.networks import GIVEN


class StopNotFinite(TrainerCallback):
    """Ends training with a ``NotFiniteError`` when a logged loss, or a figure of an evaluation, is NaN or infinite.

    Trainer itself would go on, and without ``logging_nan_inf_filter=False`` hide it.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_finite({name: value for name, value in (logs or {}).items() if name.endswith("loss")}, state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_finite(metrics or {}, state.global_step)


def check_finite(figures: Mapping[str, Any], step: int) -> None:
    """Refuses figures that are no finite numbers.

    Args:
        figures: Name -> value; what is no number is left alone.
        step: After how many optimizer steps they were found.

    Raises:
        NotFiniteError: With the first that is not finite.
    """
    for name, value in figures.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise NotFiniteError(
                f"not finite: {name} is {value} after step {step}. Lower the learning rate, clip gradients "
                "(--max_grad_norm 1), or train in float32.",
                step,
            )
