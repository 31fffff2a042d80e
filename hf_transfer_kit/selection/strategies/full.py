"""Plain fine-tuning: the pretrained weights are the starting point, everything learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hf_transfer_kit.selection.strategies.strategy import PROBE, Strategy


@dataclass(frozen=True)
class Full(Strategy):
    """Every weight is fine-tuned at one rate."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "The whole network fine-tuned at one rate."
    begins_with: ClassVar[str] = PROBE
