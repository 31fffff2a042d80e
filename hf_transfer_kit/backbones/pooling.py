"""Many positions into one row of features."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean

POOLINGS = ("mean", "first", "last", "max", "statistics")
_LEAST_VARIANCE = 1e-10
"""Keeps the gradient of a spread of zero finite."""


def pooled_width(width: int, how: str) -> int:
    """Features of a row that is pooled from positions of ``width`` features."""
    return 2 * width if how == "statistics" else width


def pooled_positions(positions: Tensor, mask: Tensor | None, *, how: str) -> Tensor:
    """One row of features from the positions of each row.

    Args:
        positions: Of shape (B, P, D).
        mask: Which of them count, bool of shape (B, P); None counts all. A row without any gives zeros.
        how: ``"mean"``, ``"first"``, ``"last"`` or ``"max"`` (of each feature) of those that count, or
            ``"statistics"``: mean and standard deviation, one behind the other (Snyder et al. 2018, x-vectors).

    Returns:
        Of shape (B, D), of statistics (B, 2 D), dtype of ``positions``.

    Raises:
        SettingsError: When ``how`` is unknown.
    """
    if mask is None:
        mask = positions.new_ones(positions.shape[:2], dtype=torch.bool)
    mask = mask.to(positions.device)
    counts = mask.sum(dim=1)  # (B,)
    if how in ("mean", "statistics"):
        # Sums in float32 at least: thousands of positions are too many for half precision.
        dtype = torch.promote_types(positions.dtype, torch.float32)
        share = 1 / counts.clamp(min=1)[:, None]
        mean = positions.masked_fill(~mask[..., None], 0).sum(dim=1, dtype=dtype) * share  # (B, D)
        if how == "mean":
            return mean.to(positions.dtype)
        away = (positions.to(dtype) - mean[:, None]).masked_fill(~mask[..., None], 0)
        spread = (away.square().sum(dim=1) * share).clamp(min=_LEAST_VARIANCE).sqrt()
        return (torch.cat([mean, spread], dim=1) * (counts > 0)[:, None]).to(positions.dtype)
    if how == "max":
        return positions.masked_fill(~mask[..., None], -torch.inf).amax(dim=1).masked_fill((counts == 0)[:, None], 0)
    if how not in POOLINGS:
        raise SettingsError(
            f"pooling={how!r} is unknown; choose {', '.join(map(repr, POOLINGS))} or None.{did_you_mean(how, POOLINGS)}"
        )
    place = mask.int().argmax(dim=1)
    if how == "last":
        place = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    chosen = positions[torch.arange(len(positions), device=positions.device), place]  # (B, D)
    return chosen * (counts > 0)[:, None]
