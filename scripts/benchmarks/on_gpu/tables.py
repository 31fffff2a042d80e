"""What was measured, as one table for people, and what it was measured with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from on_gpu.bench import Record

_LIBRARIES = ("torch", "transformers", "accelerate", "timm", "hf_transfer_kit")


def about(reduced: bool) -> dict[str, Any]:
    """The device and the versions."""
    device = "CPU" if reduced else torch.cuda.get_device_name()
    versions = {name: version(name) for name in _LIBRARIES}
    return {"device": device, "cores": os.cpu_count(), "versions": versions, "reduced": reduced}


def markdown(result: Mapping[str, Any]) -> str:
    """The table, one row a record, the section's error where it has one."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        f"{result['device']}, {result['cores']} cores; {versions}; {result['seconds']:.0f} s."
        + (" Reduced: the figures say only that it runs." if result["reduced"] else ""),
        "",
        "| section | what | measured | mark |",
        "|---|---|---|---|",
    ]
    for letter, section in result["sections"].items():
        lines += [_row(letter, record) for record in section["records"]]
        if section["error"]:
            lines.append(_row(letter, {"what": section["title"], "mark": "failed", "why": section["error"]}))
    return "\n".join(lines) + "\n"


def _row(letter: str, record: Record) -> str:
    figures = [f"{name} {_figure(value)}" for name, value in record.items() if name not in ("what", "mark", "why")]
    mark = ": ".join(filter(None, (record.get("mark"), record.get("why"))))
    cells = (f"({letter})", record["what"], ", ".join(figures), mark)
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _figure(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
