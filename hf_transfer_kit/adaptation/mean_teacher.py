"""A moving average of the network beside it: the teacher of self-training, and a steadier network at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation.domain_pairs import TARGET
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.tuning.all_rows import all_rows
from hf_transfer_kit.tuning.averaging.means import follow, warm_decay
from hf_transfer_kit.tuning.averaging.taken_steps import TakenSteps
from hf_transfer_kit.tuning.beside_checkpoints import to_read, to_write
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback

FILE = "mean_teacher.safetensors"


class MeanTeacher(NetworkCallback):
    """Keeps an exponential moving average of the model (Tarvainen and Valpola 2017).

    Before each forward in training it lets the teacher say what it thinks of the step's target rows and hands that to
    an objective that asks for a teacher (``self_training``). Evaluations during training are of the student.
    Checkpoints hold the teacher as ``mean_teacher.safetensors``; a resumed run goes on with it.

    Args:
        decay: Share of the teacher that stays at each step, in [0, 1]; less during the first steps.
        finish: Whose weights the model has after training: ``"student"`` or ``"teacher"``.

    Raises:
        SettingsError: When an argument is out of range; before training, when the checkpoint holds no teacher or the
            best checkpoint is to be loaded at the end, which ``finish="teacher"`` would overwrite.

    Example:
        >>> pairs = DomainPairs(train, target)
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="self_training")
        >>> callbacks = [AdversarialSchedule("constant"), MeanTeacher(decay=0.9, finish="teacher")]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=pairs, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
    """

    reaches_parameters = True
    instead_of_shards = "Without a teacher choose a method that needs none, such as dann."

    def __init__(self, decay: float = 0.999, *, finish: str = "student") -> None:
        self.decay = check_number("MeanTeacher", "decay", decay, low=0, high=1)
        self.finish = check_choice("MeanTeacher", "finish", finish, ("student", "teacher"))
        self.teacher: nn.Module | None = None
        self._handle: RemovableHandle | None = None
        self._steps: TakenSteps = GIVEN

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self.finish == "teacher" and args.load_best_model_at_end:
            raise SettingsError(
                "MeanTeacher(finish='teacher') replaces the weights after training, and load_best_model_at_end would "
                "have put those of the best checkpoint there. Leave out one of them."
            )
        self._take_off()
        self._steps = TakenSteps(optimizer)
        model, _ = plain_model(model)
        self.teacher = copy.deepcopy(model).eval().requires_grad_(False)
        if state.global_step:
            self.teacher.load_state_dict(load_file(to_read(args, state, FILE, "MeanTeacher")), strict=False)
        taught = [module for module in model.modules() if hasattr(module, "teacher_logits")]
        if taught:
            self._handle = model.register_forward_pre_hook(self._teach(taught), with_kwargs=True)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self._steps.last():
            new = _tensors(plain_model(model)[0])
            follow(_tensors(cast(nn.Module, self.teacher)), new, warm_decay(state.global_step, self.decay))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            save_file(_saved(cast(nn.Module, self.teacher)), to_write(args, state, FILE))

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._take_off()
        if self.finish == "teacher":
            with torch.no_grad():
                for own, averaged in zip(
                    _tensors(plain_model(model)[0]), _tensors(cast(nn.Module, self.teacher)), strict=True
                ):
                    own.copy_(averaged)

    def _teach(self, taught: list[Any]) -> Callable[[nn.Module, tuple, dict], None]:
        @torch.compiler.disable
        def before_forward(model: nn.Module, args: tuple, inputs: dict) -> None:
            target = {name.removeprefix(TARGET): value for name, value in inputs.items() if name.startswith(TARGET)}
            if not model.training or not target:
                return
            with torch.no_grad():
                logits = all_rows(cast(nn.Module, self.teacher)(**target)["logits"])
            for module in taught:
                module.teacher_logits = logits

        return before_forward

    def _take_off(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = None


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _saved(teacher: nn.Module) -> dict[str, Tensor]:
    """The state dict, tied weights once: safetensors refuses memory that two names share."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in teacher.state_dict().items():
        if tensor.data_ptr() not in seen or not tensor.numel():
            seen.add(tensor.data_ptr())
            kept[name] = tensor.contiguous().cpu()
    return kept
