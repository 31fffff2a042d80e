"""One or several numbers for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.backbones.precision import in_float32
from hf_transfer_kit.multitask.heads.head import Head, mean_of_known
from hf_transfer_kit.real_numbers import is_finite


class RegressionHead(Head):
    """Squared error in units of ``scale``, the mean over numbers; labels are float32 (R, C), or (R,) where C is 1.

    NaN stands for a number that is not known: nothing is learned there.

    Predictions are ``mean + scale * linear(features)``, in the labels' own unit. With mean and standard deviation of
    the labels the loss begins near 1 whatever the unit: neither do small numbers vanish beside other tasks, nor do
    numbers far from 0 push the shared layers about until the head has found their mean.

    Args:
        width: Number of features D.
        num_labels: Numbers for each row C.
        dropout: Probability in [0, 1) with which a feature is dropped in training.
        mean: What is predicted from features of 0, to begin with; one number, or C.
        scale: Unit of the error, above 0; one number, or C.
    """

    kind = "regression"
    problem_type = "regression"
    default_labels = 1
    options: ClassVar[dict[str, Any]] = {"mean": 0.0, "scale": 1.0}

    def __init__(
        self,
        width: int,
        num_labels: int,
        *,
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
    ) -> None:
        super().__init__(width, num_labels, dropout=dropout)
        self.mean = mean
        self.scale = scale

    @classmethod
    def wanted(cls, option: str, num_labels: int) -> tuple[str, Callable[[Any], bool]]:
        """A number above 0, and for ``mean`` any; or one for each of the row's numbers."""
        wanted, above_zero = super().wanted(option, num_labels)

        def finite(value: Any) -> bool:
            return not isinstance(value, bool) and is_finite(value)

        fits = finite if option == "mean" else above_zero

        def fit(value: Any) -> bool:
            if isinstance(value, list | tuple):
                return len(value) == num_labels and all(map(fits, value))
            return fits(value)

        wanted = "a finite number" if option == "mean" else wanted
        return wanted if num_labels == 1 else f"{wanted}, or a list of {num_labels}", fit

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Numbers (R, C) of features (R, D)."""
        logits = super().forward(features)
        return self._of(self.mean, logits) + self._of(self.scale, logits) * logits

    def plain_state(self) -> dict[str, Tensor]:
        """The linear layer that gives the same numbers by itself, float32 or wider: a mean does not fit into less."""
        weight, bias = in_float32(self.linear.weight.detach()), self.linear.bias
        mean, scale = self._of(self.mean, weight), self._of(self.scale, weight)
        state = {"weight": scale.reshape(-1, 1) * weight}
        if bias is not None or mean.any():
            own = weight.new_zeros(len(weight)) if bias is None else in_float32(bias.detach())
            state["bias"] = scale * own + mean
        return state

    def load_plain(self, state: dict[str, Tensor]) -> None:
        """Takes the weights of a linear layer that gives the numbers by itself."""
        mean, scale = self._of(self.mean, state["weight"]), self._of(self.scale, state["weight"])
        self.linear.load_state_dict(
            {"weight": state["weight"] / scale.reshape(-1, 1), "bias": (state["bias"] - mean) / scale}
        )

    def loss(self, logits: Tensor, labels: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | int]:
        """Sum over rows, and R."""
        if labels.dim() == 1 and self.num_labels == 1:
            labels = labels[:, None]
        if labels.shape != logits.shape:
            raise self._refuse(labels, logits, "numbers, float32 of shape (R, C), or (R,) with one number a row")
        known = ~labels.isnan()
        whole = torch.where(known, labels.float(), logits.detach().float())
        scale = self._of(self.scale, whole)
        each = functional.mse_loss(logits.float() / scale, whole / scale, reduction="none")  # (R, C)
        return mean_of_known(each, known).sum(), len(labels)

    @staticmethod
    def _of(option: float | Sequence[float], like: Tensor) -> Tensor:
        """A number, or C, as a tensor beside ``like``: made anew, for buffers would be loaded with a checkpoint."""
        return torch.tensor(option, dtype=like.dtype, device=like.device)
