"""Callbacks whose ``model`` is always the network that learns, whatever object their Trainer calls its model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.errors import SettingsError

GIVEN: Any = None
"""Default of what Trainer hands to every event of a kind (``model``, ...), typed as that."""


class NetworkCallback(TrainerCallback):
    """A callback whose events get a ``torch.nn.Module`` as ``model``.

    SetFit's Trainer, for one, hands over a SetFitModel, which is none and holds one as ``model_body``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, event in list(vars(cls).items()):
            if name.startswith("on_") and callable(event):
                setattr(cls, name, _with_network(event))


def network_of(model: Any) -> nn.Module | None:
    """The module that learns: the model itself, or the body of one of SetFit's; None stays None.

    Raises:
        SettingsError: When there is no module.
    """
    if model is None or isinstance(model, nn.Module):
        return model
    body = getattr(model, "model_body", None)
    if not isinstance(body, nn.Module):
        raise SettingsError(
            f"This Trainer's model is a {type(model).__name__}, which is no torch.nn.Module and holds none, "
            "so there is nothing whose layers could be reached. Pass the callback to the Trainer of the network itself."
        )
    return body


def _with_network(event: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(event)
    def called(
        self: TrainerCallback, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        if "model" in kwargs:
            kwargs["model"] = network_of(kwargs["model"])
        return event(self, args, state, control, **kwargs)

    return called
