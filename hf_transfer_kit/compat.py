"""What differs between the versions of other libraries that the kit runs on: facts alone, each in one place.

The versions are those from ``constraints-oldest.txt`` to ``constraints.txt``.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from torch import Tensor
    from torch.distributed.tensor import DTensor
    from transformers import Trainer, TrainingArguments

LATE_ARGUMENTS = {  # newest name -> older one, or None where nothing asked for the like
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
    "ddp_static_graph": None,
}


@cache
def argument_name(name: str) -> str | None:
    """What the installed transformers calls an argument of Trainer; None where it has no such argument.

    Args:
        name: One of those that not all versions have, under its newest name.
    """
    from transformers import TrainingArguments

    older = LATE_ARGUMENTS[name]
    return name if name in {field.name for field in fields(TrainingArguments)} else older


def training_argument(args: TrainingArguments, name: str) -> Any:
    """Its value, under whichever name the installed transformers has it; None where it has no such argument."""
    known = argument_name(name)
    return None if known is None else getattr(args, known)


def asks_for_reentrant_checkpointing(args: TrainingArguments) -> bool:
    """Whether Trainer will switch on activation checkpointing that re-enters the forward."""
    given = training_argument(args, "activation_checkpointing_kwargs")
    if not training_argument(args, "activation_checkpointing") or given is None:
        return False
    if argument_name("activation_checkpointing_kwargs") == "activation_checkpointing_kwargs":
        # Trainer takes these two out; with nothing left transformers checkpoints without re-entering.
        given = {key: value for key, value in given.items() if key not in ("every_n_layers", "offload")}
        if not given:
            return False
    return bool(given.get("use_reentrant", True))


def loss_is_scaled(trainer: Trainer) -> bool | None:
    """What the Trainer was told of its own loss, ``loss_is_scaled_for_ga``; None also where it cannot be told."""
    from transformers import Trainer

    return trainer.loss_is_scaled_for_ga if hasattr(Trainer, "loss_is_scaled_for_ga") else None


@cache
def http_client() -> ModuleType:
    """The library (httpx or httpx2) whose errors and answers the installed huggingface_hub hands on."""
    from huggingface_hub.errors import HfHubHTTPError

    base = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    return sys.modules[base.__module__.partition(".")[0]]


def commit_fields(commit: CommitInfo) -> dict[str, Any]:
    """What another process makes the same answer of; that of huggingface_hub 1.5 cannot be pickled itself."""
    return {field.name: getattr(commit, field.name) for field in fields(commit) if field.init}


def sharded_like(tensor: Tensor, parameter: DTensor) -> DTensor:
    """A tensor that every process has whole, laid out as a parameter is.

    Each process cuts out its own part; torch 2.6 cannot, and sends the first process's tensor around.
    """
    from torch.distributed.tensor import distribute_tensor

    takes = "src_data_rank" in inspect.signature(distribute_tensor).parameters
    nothing_sent: dict[str, Any] = {"src_data_rank": None} if takes else {}
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, **nothing_sent)
