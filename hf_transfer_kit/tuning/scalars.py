"""Named scalars beside the loss: handed in by models and callbacks, seen wherever Trainer logs the loss.

Trainer logs one loss and knows no other; what a callback adds to ``logs`` in ``on_log`` comes too late for
``state.log_history`` (copied before) and for the trackers (called before the user's callbacks). So a ``ScalarCallback``
moves itself to the front of the list of callbacks, adds its scalars to the logs before anybody reads them, and to the
last entry of ``log_history``. No Trainer subclass is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.calling import owners_frame
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback

_RESERVED = ("loss", "grad_norm", "learning_rate", "epoch", "step", "num_input_tokens_seen", "total_flos")
_ATTRIBUTE = "_recorded_scalars"

SumAndCount = tuple[float, float]


def record_scalars(model: nn.Module, scalars: Mapping[str, torch.Tensor | float]) -> None:
    """Hands in scalars from a model's ``forward``; ``LogScalars`` logs their mean since the last log.

    Only sums and counts are kept, detached, on the tensors' own device and beside the state dict: nothing waits for
    the device and nothing grows when nobody logs. Outside training (``model.training`` is False) nothing is recorded.

    Args:
        model: The module that computed the scalars, usually ``self``; any submodule of the trained model will do.
        scalars: Name -> tensor with one element, or number. A name may be missing in some steps or processes: the mean
            is over the times it was handed in.

    Raises:
        SettingsError: When a name is one that Trainer logs itself, or a tensor has more than one element.

    Example:
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(2, 1)
        ...     def forward(self, x, labels=None):
        ...         out = self.layer(x)
        ...         record_scalars(self, {"mean": out.mean()})
        ...         return {"loss": out.square().mean()}
        >>> rows = [{"x": torch.ones(2), "labels": 0}] * 4
        >>> trainer = Trainer(Net(), args, train_dataset=rows, callbacks=[LogScalars()])
        >>> _ = trainer.train()
        >>> "mean" in trainer.state.log_history[0]
        True
    """
    if not model.training:
        return
    kept = dict(getattr(model, _ATTRIBUTE, {}))
    for name, value in scalars.items():
        if name in _RESERVED:
            raise SettingsError(f"record_scalars: {name!r} is logged by Trainer itself; choose another name.")
        if isinstance(value, torch.Tensor):
            if value.numel() != 1:
                raise SettingsError(
                    f"record_scalars: {name!r} has shape {tuple(value.shape)}; hand in one element, such as its mean."
                )
            value = value.detach().reshape(())
            value = value if value.dtype == torch.float64 else value.float()
        total, count = kept.get(name, (0.0, 0.0))
        kept[name] = (total + value, count + 1.0)
    # A new dict each time: torch.compile replays an assigned attribute, and loses changes inside an old one.
    setattr(model, _ATTRIBUTE, kept)


def take_scalars(model: nn.Module) -> dict[str, SumAndCount]:
    """Sum and count of every recorded name in ``model`` and its submodules since the last call, in this process."""
    taken: dict[str, SumAndCount] = {}
    for module in model.modules():
        for name, (total, count) in vars(module).pop(_ATTRIBUTE, {}).items():
            before, times = taken.get(name, (0.0, 0.0))
            taken[name] = (before + float(total), times + count)
    return taken


def mean_over_processes(scalars: Mapping[str, SumAndCount]) -> dict[str, float]:
    """Name -> sum of sums / sum of counts over all processes; every process must call it, names may differ."""
    totals: dict[str, SumAndCount] = {}
    for part in gather_object([dict(scalars)]):
        for name, (total, count) in part.items():
            before, times = totals.get(name, (0.0, 0.0))
            totals[name] = (before + total, times + count)
    return {name: total / count for name, (total, count) in totals.items() if count}


class ScalarCallback(NetworkCallback):
    """A callback with scalars to log: they reach ``state.log_history``, every tracker and the console.

    Override ``scalars``. It is called in every process each time Trainer logs its training loss; the logged value is
    the mean over the processes that gave the name. A subclass with its own ``on_train_begin`` or ``on_log`` calls
    ``super()``'s.

    Attributes:
        scalar_name: The name of its own scalar, which no other callback of the Trainer may have; None where it has no
            one name.

    Example:
        >>> class HeadNorm(ScalarCallback):
        ...     scalar_name = "head_norm"
        ...     def scalars(self, model):
        ...         return {"head_norm": model.classifier[1].weight.norm().item()}
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[HeadNorm()])
        >>> _ = trainer.train()
        >>> "head_norm" in trainer.state.log_history[0]
        True
    """

    scalar_name: str | None = None

    def scalars(self, model: nn.Module) -> Mapping[str, torch.Tensor | float]:
        """Name -> value now, in this process. Nothing by default."""
        return {}

    def sums_and_counts(self, model: nn.Module) -> dict[str, SumAndCount]:
        """What this process adds to the mean: by default each of ``scalars`` once."""
        return {name: (float(value), 1.0) for name, value in self.scalars(model).items()}

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        _move_to_front(self)
        self._check_name()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        _move_to_front(self)
        self._check_name()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        _move_to_front(self)
        if logs is None or "loss" not in logs:
            return
        means = mean_over_processes(self.sums_and_counts(model))
        taken = [name for name in means if name in logs]
        if taken:
            raise SettingsError(
                f"{type(self).__name__} logs {', '.join(taken)}, which Trainer or another callback has logged already "
                "in this step: give each its own name."
            )
        logs.update(means)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(means)

    def _check_name(self) -> None:
        frame = owners_frame(CallbackHandler)
        for other in () if frame is None or self.scalar_name is None else frame.f_locals["self"].callbacks:
            if other is not self and getattr(other, "scalar_name", None) == self.scalar_name:
                raise SettingsError(
                    f"{type(other).__name__} and {type(self).__name__} would both be logged as {self.scalar_name!r}: "
                    "give one of them another name, such as name='second'."
                )


def check_scalar_name(owner: str, name: object) -> None:
    """Refuses what cannot be the name of a logged scalar.

    Args:
        owner: The class that was given it, for the sentence.
        name: Given by a user; None for the class's own.

    Raises:
        SettingsError: When it is no word, or one that Trainer logs itself.
    """
    if name is not None and (not isinstance(name, str) or not name or name in _RESERVED):
        raise SettingsError(
            f"{owner}: name={name!r} cannot be logged: give a word that Trainer does not log itself "
            f"({', '.join(_RESERVED)})."
        )


class LogScalars(ScalarCallback):
    """Logs what models hand in with ``record_scalars``: the mean over steps since the last log, and over processes.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> pairs = DomainPairs(train, target)
        >>> callbacks = [AdversarialSchedule(), LogScalars()]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=pairs, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
        >>> "domain_loss" in trainer.state.log_history[0]
        True
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_train_begin(args, state, control, model=model, **kwargs)
        take_scalars(model)

    def sums_and_counts(self, model: nn.Module) -> dict[str, SumAndCount]:
        """What the models recorded since the last log."""
        return take_scalars(model)


def _move_to_front(callback: TrainerCallback) -> None:
    """Moves ``callback`` before the trackers in the list whose event is being called, after others of its kind.

    Callbacks are given no way to that list, but it is its owner who calls them, so it is on the stack. While it walks
    through the list this neither skips nor repeats a callback: those before move up by one, those after stay.
    """
    frame = owners_frame(CallbackHandler)
    if frame is None:
        return
    callbacks = frame.f_locals["self"].callbacks
    first = next((i for i, other in enumerate(callbacks) if not isinstance(other, ScalarCallback)), 0)
    if callback in callbacks[first:]:
        callbacks.remove(callback)
        callbacks.insert(first, callback)
