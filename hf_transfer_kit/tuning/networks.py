"""Callbacks whose ``model`` is always the network that learns, whatever object their Trainer calls its model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.backbones.shards import shard_again
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.layouts import check_layout, check_not_compiled

GIVEN: Any = None
"""Default of what Trainer hands to every event of a kind (``model``, ...), typed as that."""


def _with_network(event: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(event)
    def called(
        self: NetworkCallback, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        if "model" in kwargs:
            kwargs["model"] = model = network_of(kwargs["model"])
            if model is not None:
                shard_again(model)  # an evaluation leaves whole parameters behind
            if self.reaches_parameters and event.__name__ in ("on_init_end", "on_train_begin"):
                owner = type(self).__name__
                check_layout(owner, model, instead=self.instead_of_shards, also_with=self.also_with)
                check_not_compiled(owner)
        return event(self, args, state, control, **kwargs)

    return called


class NetworkCallback(TrainerCallback):
    """A callback whose events get a ``torch.nn.Module`` as ``model``, with its parameters as the optimizer has them.

    SetFit's Trainer, for one, hands over a SetFitModel, which is none and holds one as ``model_body``.

    Attributes:
        reaches_parameters: Whether it reads, writes or holds parameters, or takes part in the backward; such a one is
            refused where they are out of reach, as with DeepSpeed.
        also_with: Layouts, as ``layout_of`` names them, that it has done with before they begin.
        instead_of_shards: What to do instead under FSDP2, a sentence; None where the part works there.
    """

    reaches_parameters: ClassVar[bool] = False
    also_with: ClassVar[Collection[str]] = ()
    instead_of_shards: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, event in list(vars(cls).items()):
            if name.startswith("on_") and callable(event):
                setattr(cls, name, _with_network(event))

    @_with_network
    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuses a part that cannot be used; so does the start of training, for parts that came later."""

    @_with_network
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """As ``on_init_end``."""


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
