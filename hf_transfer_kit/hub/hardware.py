"""What a run ran on, without a name of the machine."""

from __future__ import annotations

import os
import platform

import torch


def hardware() -> str:
    """Kind and number of accelerators, or of CPU cores."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    if torch.backends.mps.is_available():
        return f"Apple GPU, {platform.machine()}"
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"
