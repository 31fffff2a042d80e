"""A run whose evaluations, checkpoints and final model are of weights averaged over its steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_int, check_number
from hf_transfer_kit.tuning.averaging.means import Average, follow, warm_decay, wide_copies
from hf_transfer_kit.tuning.averaging.statistics import batches_of, gather_statistics
from hf_transfer_kit.tuning.averaging.taken_steps import TakenSteps
from hf_transfer_kit.tuning.beside_checkpoints import to_read, to_write
from hf_transfer_kit.tuning.conservative.anchor_penalty import learning_names
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.values.rows import check_map_rows

FILE = "averaged_weights.safetensors"


class AveragedWeights(RunPart, NetworkCallback):
    """Averages the weights that learn; a subclass says how, in ``add``.

    Whenever Trainer evaluates or saves, the model has the averaged weights, and when training goes on it has its own
    again: what is measured is what is saved, the best checkpoint is the one of the best average, and after training the
    model is the last average (with ``load_best_model_at_end`` the best one). The statistics of BatchNorms that learn
    are gathered anew for the average each time, on training rows; a checkpoint keeps the run's own weights and the
    means beside Trainer's files, as ``averaged_weights.safetensors``, from which a resumed run goes on. Steps that a
    gradient scaler left out are no steps.

    Give it to the Trainer after callbacks that decide when to evaluate or save.

    Args:
        batch_size: Training rows in a forward for BatchNorm's statistics.
        max_rows: How many training rows, evenly spread; None takes all.
    """

    reaches_parameters = True
    instead_of_shards = "Without averages keep the best checkpoint, by load_best_model_at_end."

    def __init__(self, *, batch_size: int = 256, max_rows: int | None = 1024) -> None:
        owner = type(self).__name__
        self.batch_size = check_int(owner, "batch_size", batch_size, low=2)
        self.max_rows = None if max_rows is None else check_int(owner, "max_rows", max_rows, low=2)
        self._average: Average | None = None
        self._weights: list[nn.Parameter] = []
        self._own: dict[str, Tensor] | None = None  # the run's own weights and statistics while the average is in
        self._rows: DataLoader = GIVEN
        self._steps: TakenSteps = GIVEN
        self._running = False

    @abstractmethod
    def add(self, average: Average | None, weights: list[nn.Parameter], step: int, max_steps: int) -> Average | None:
        """The average after one more step; None as long as there is none.

        Args:
            average: So far; its tensors may be changed.
            weights: Those that learn, as the step left them.
            step: How many steps were finished, from 1.
            max_steps: How many there will be.
        """

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        guard_run()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        # The state object lives for one training, and what is beside its fields goes into no checkpoint.
        other = vars(state).setdefault("_averaged_weights", self)
        if other is not self:
            raise SettingsError(
                f"{type(other).__name__} and {owner} both put averaged weights into the model that is evaluated and "
                "saved; give a Trainer one of them."
            )
        norms = batch_norms(plain_model(model)[0])
        if any("_reading" in vars(norm) for norm in norms):
            raise SettingsError(
                f"{type(model).__name__} keeps BatchNorm's statistics of several domains, which {owner} cannot gather "
                "anew for averaged weights. Use MeanTeacher(finish='teacher') or SWAD there, or a network without "
                "BatchNorm."
            )
        if norms:
            check_map_rows(train_dataloader.dataset)  # asked for by number, to gather statistics on
        self._own, self._rows, self._running = None, train_dataloader, True
        parameters = dict(model.named_parameters())
        self._steps = TakenSteps(optimizer)
        self._weights = [parameters[name] for name in learning_names(model, optimizer)]
        self._average = None
        if state.global_step:
            self._load(load_file(to_read(args, state, FILE, owner)))

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._take_out(model)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if self._steps.last():
            self._average = self.add(self._average, self._weights, state.global_step, state.max_steps)
        if control.should_evaluate or control.should_save:
            self._put_in(model)

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if control.should_evaluate or control.should_save:
            self._put_in(model)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._check_in("evaluated")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._check_in("saved")
        if state.is_world_process_zero:
            save_file(self._saved(), to_write(args, state, FILE))

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        if not (args.load_best_model_at_end and state.best_model_checkpoint is not None):  # that is an average already
            self._put_in(model)
        self._own, self._running = None, False
        self._rows, self._steps, self._weights = GIVEN, GIVEN, []  # so that the part can be pickled

    def leave(self, model: nn.Module) -> None:
        """The run's own weights, where it was broken off while the average was in."""
        self._take_out(model)
        self._running = False

    @torch.no_grad()
    def _put_in(self, model: nn.Module) -> None:
        """The average instead of the run's own weights, which are kept; nothing where it is in."""
        if self._own is not None or self._average is None:
            return
        inner, _ = plain_model(model)
        norms: list[Any] = [norm for norm in batch_norms(inner) if norm.training]  # frozen ones keep what they have
        self._own = {f"weight.{i}": weight.detach().clone() for i, weight in enumerate(self._weights)}
        self._own |= {name: buffer.clone() for name, buffer in _buffers(model).items()}
        for weight, mean in zip(self._weights, self._average.tensors, strict=True):
            weight.copy_(mean)
        if norms:
            rows, collate = cast(Any, self._rows.dataset), cast(Any, self._rows.collate_fn)
            batches = batches_of(rows, collate, batch_size=self.batch_size, max_rows=self.max_rows)
            gather_statistics(inner, norms, batches)

    @torch.no_grad()
    def _take_out(self, model: nn.Module) -> None:
        """The run's own weights again; nothing where they are in."""
        if self._own is not None:
            own, self._own = self._own, None
            for i, weight in enumerate(self._weights):
                weight.copy_(own[f"weight.{i}"])
            for name, buffer in _buffers(model).items():
                buffer.copy_(own[name])

    def _check_in(self, done: str) -> None:
        if self._running and self._average is not None and self._own is None:
            raise SettingsError(
                f"The model was {done} with weights that are no average: another callback asked for it after "
                f"{type(self).__name__} had had its turn. Give {type(self).__name__} to the Trainer last."
            )

    def _saved(self) -> dict[str, Tensor]:
        """The run's own weights and the means; empty of both before the first mean, when the model is the run's own."""
        if self._average is None or self._own is None:
            return {"count": torch.tensor(0)}
        kept = {name: tensor.cpu().contiguous() for name, tensor in self._own.items()}
        kept |= {f"mean.{i}": mean.cpu().contiguous() for i, mean in enumerate(self._average.tensors)}
        return {**kept, "count": torch.tensor(self._average.count)}

    def _load(self, kept: dict[str, Tensor]) -> None:
        count = int(kept["count"])
        if count:
            means = [kept[f"mean.{i}"].to(weight.device) for i, weight in enumerate(self._weights)]
            self._average = Average(means, count)
            self._own = kept  # Trainer read the average into the model; the first step takes it out


class EMA(AveragedWeights):
    """An exponential moving average of the weights (Polyak and Juditsky 1992), with a short memory at the start.

    After step t the average is d * average + (1 - d) * weights, d = min(decay, (1 + t) / (10 + t)). See
    ``AveragedWeights`` for what is evaluated, saved and resumed.

    Args:
        decay: Largest d, in [0, 1).
        batch_size: As in ``AveragedWeights``.
        max_rows: As in ``AveragedWeights``.

    Raises:
        SettingsError: When an argument is out of range; before training, with a second average or sharded weights, or
            when the checkpoint holds no means; in training, when the model is evaluated or saved without the average.
        DataError: Before training, when the network has BatchNorm and the training rows are a stream.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[EMA(decay=0.99)])
        >>> _ = trainer.train()
    """

    @checked_arguments(own_words_first=True)
    def __init__(self, decay: float = 0.999, *, batch_size: int = 256, max_rows: int | None = 1024) -> None:
        super().__init__(batch_size=batch_size, max_rows=max_rows)
        self.decay = check_number("EMA", "decay", decay, low=0, high=1)
        if self.decay == 1:
            raise SettingsError("EMA: decay=1 keeps the first weights for ever; give a number below 1, such as 0.999.")

    def add(self, average: Average | None, weights: list[nn.Parameter], step: int, max_steps: int) -> Average:
        """The moving average."""
        if average is None:
            return Average(wide_copies(weights), 1)
        follow(average.tensors, weights, warm_decay(step, self.decay))
        return Average(average.tensors, average.count + 1)


class SWA(AveragedWeights):
    """Stochastic weight averaging: the equal mean of weights late in training (Izmailov et al. 2018).

    The paper's rate is constant or cyclical while averaging: set ``lr_scheduler_type`` for that; under a rate that
    falls to zero the mean is of weights that hardly differ. See ``AveragedWeights`` for what is evaluated, saved and
    resumed; before ``start`` it is the run's own weights.

    Args:
        start: Share of training, in [0, 1), before the first weights that count.
        every: Steps between weights that count, at least 1.
        batch_size: As in ``AveragedWeights``.
        max_rows: As in ``AveragedWeights``.

    Raises:
        SettingsError: As ``EMA``.
        DataError: As ``EMA``.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[SWA(start=0.5)])
        >>> _ = trainer.train()
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self, start: float = 0.5, *, every: int = 1, batch_size: int = 256, max_rows: int | None = 1024
    ) -> None:
        super().__init__(batch_size=batch_size, max_rows=max_rows)
        self.start = check_number("SWA", "start", start, low=0, high=1)
        if self.start == 1:
            raise SettingsError("SWA: start=1 averages nothing; give a share of training below 1, such as 0.5.")
        self.every = check_int("SWA", "every", every, low=1)

    def add(self, average: Average | None, weights: list[nn.Parameter], step: int, max_steps: int) -> Average | None:
        """The mean, with these weights where their turn has come; the last step's always count."""
        late = step - int(self.start * max_steps)
        if late <= 0 or ((late - 1) % self.every and step < max_steps):
            return average
        return Average(wide_copies(weights), 1) if average is None else average.with_more(weights)


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Name -> running statistics of the model's BatchNorms."""
    return {
        f"statistics.{number}.{name}": buffer
        for number, norm in enumerate(batch_norms(plain_model(model)[0]))
        for name, buffer in norm.named_buffers()
    }
