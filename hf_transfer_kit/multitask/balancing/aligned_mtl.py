"""Aligned gradients: the system of gradients made well conditioned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask.balancing.gradient_balancer import GradientBalancer, of_torchjd
from hf_transfer_kit.near_names import did_you_mean

_SCALES = ("min", "median", "rmse")


class AlignedMTL(GradientBalancer):
    """The mean of the gradients after their principal components are given one length (Senushkin et al. 2023, CVPR).

    Args:
        tasks: Names of all tasks.
        scale: That length: "min" (default), "median" or "rmse" of the components'.
        sum_rows: See ``GradientBalancer``.

    Raises:
        SettingsError: When the scale is unknown.
    """

    name: ClassVar[str] = "aligned_mtl"
    summary: ClassVar[str] = "mean of the gradients with their principal components made equal"

    def __init__(self, tasks: Sequence[str], *, scale: str = "min", sum_rows: bool = False) -> None:
        weighting = of_torchjd(self.name, "AlignedMTLWeighting")

        super().__init__(tasks, sum_rows=sum_rows)
        if scale not in _SCALES:
            raise SettingsError(
                f"aligned_mtl: scale={scale!r} is unknown; choose {' or '.join(map(repr, _SCALES))}."
                f"{did_you_mean(scale, _SCALES)}"
            )
        self.weighting = weighting(scale_mode=cast(Literal["min", "median", "rmse"], scale))

    def gradient_weights(self, gramian: Tensor, present: list[int]) -> Tensor:
        """torchjd's."""
        return self.weighting(gramian)
