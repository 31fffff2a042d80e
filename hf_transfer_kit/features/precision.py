"""In which precision computed tensors are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.near_names import did_you_mean

DTYPES = ("float32", "float16", "bfloat16")


def check_dtype(dtype: str) -> None:
    """Raises SettingsError when tensors cannot be kept as ``dtype``."""
    if dtype not in DTYPES:
        raise SettingsError(
            f"dtype={dtype!r} is unknown; choose {', '.join(map(repr, DTYPES))}.{did_you_mean(dtype, DTYPES)}"
        )


def narrowed(values: Tensor, dtype: str, start: int) -> Tensor:
    """Values on the CPU in ``dtype``.

    Args:
        values: Of shape (B, ...).
        dtype: torch's name of the type.
        start: Place of the first row, for the message.

    Raises:
        DataError: When a finite value becomes infinite.
    """
    kept = values.to(device="cpu", dtype=getattr(torch, dtype)).contiguous()
    if dtype == "float16" and (kept.isinf() & values.cpu().isfinite()).any():
        raise DataError(
            f"Values of the rows from {start} on reach {values.abs().max().item():.3g}, beyond the largest float16, "
            "65504. Use dtype='bfloat16' or 'float32'."
        )
    return kept
