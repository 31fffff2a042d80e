"""Which steps changed the weights: where a float16 gradient overflowed, the scaler leaves the optimizer's step out."""

from __future__ import annotations

from typing import Any

import torch


class TakenSteps:
    """Sees every step of an optimizer.

    accelerate's ``step_was_skipped`` knows nothing of a fused optimizer, which is called all the same and leaves the
    step out by itself.

    Args:
        optimizer: Torch's, or accelerate's around it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._taken = False
        getattr(optimizer, "optimizer", optimizer).register_step_pre_hook(self._note)

    def last(self) -> bool:
        """Whether there was a step that counts since the last call."""
        taken, self._taken = self._taken, False
        return taken

    def _note(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        overflow = getattr(optimizer, "found_inf", None)
        self._taken = overflow is None or not float(overflow)
