"""A tensor of the model that is computed anew from time to time, and kept in checkpoints between."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from accelerate.utils import broadcast
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.beside_checkpoints import to_read, to_write
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback

_KEY = "value"


def _adversarial(model: nn.Module) -> DomainAdversarialModel:
    return cast(DomainAdversarialModel, plain_model(model)[0])


class RefreshedBuffer(NetworkCallback):
    """Writes a buffer before training and every so often; a resumed run goes on with the one of its checkpoint.

    A subclass says where it stands (``place``), how it is computed (``value``) and in which file it is kept.

    Args:
        every: Steps between two computations, at least 1; None: each epoch.
    """

    reaches_parameters = True
    instead_of_shards = "Without it choose a method that reads no rows beside the training, such as dann."

    file: ClassVar[str]

    def __init__(self, every: int | None) -> None:
        self.every = None if every is None else check_int(type(self).__name__, "every", every, low=1)

    def place(self, model: DomainAdversarialModel) -> tuple[nn.Module, str]:
        """The module that has the buffer, and its name there."""
        raise NotImplementedError

    def value(self, model: DomainAdversarialModel) -> Tensor:
        """What to write."""
        raise NotImplementedError

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        inner = _adversarial(model)
        if not state.global_step:
            self.refresh(inner)
            return
        owner, name = self.place(inner)
        setattr(owner, name, load_file(to_read(args, state, self.file, type(self).__name__))[_KEY].to(inner.device))

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self.every is not None and state.global_step % self.every == 0:
            self.refresh(_adversarial(model))

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self.every is None and state.global_step < state.max_steps:
            self.refresh(_adversarial(model))

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            owner, name = self.place(_adversarial(model))
            save_file({_KEY: getattr(owner, name).cpu().contiguous()}, to_write(args, state, self.file))

    def refresh(self, model: DomainAdversarialModel) -> None:
        """Computes and writes it; every process gets the first one's, for rounding may differ."""
        owner, name = self.place(model)
        setattr(owner, name, broadcast(self.value(model).to(model.device)))
