"""Several processes on the batches of one: the same rows in the same order, whatever their number."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from accelerate.data_loader import BatchSamplerShard, DataLoaderDispatcher, DataLoaderShard
from accelerate.state import GradientState
from torch import Tensor, distributed, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.all_rows import check_together, number_of_processes, process_number
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.loss_scale import mend_loss_scale
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.tuning.runs import RunPart, guard_run
from hf_transfer_kit.values.rows import DealtStream


class SharedBatches(RunPart, NetworkCallback):
    """Deals each batch that one process would read to all of them, so that N processes train as one does.

    Trainer gives whole batches to processes in turn, and fills the last ones of an epoch with rows from its beginning.
    Here every process has its part of every batch, and the loss of a process with fewer rows counts less, so that the
    gradient is that of the mean over the batch. What a process draws by itself stays its own: dropout, random changes
    of inputs, and the statistics of BatchNorm, which see its part of the batch. Streams are left as Trainer deals them,
    unless they deal themselves (``DealtStream``).

    Rows that fill the last batch of an evaluation for several processes do not count in its loss either.

    Args:
        batch_size: Rows of one forward over all processes, so that a step has ``batch_size *
            gradient_accumulation_steps``; None takes ``per_device_train_batch_size`` times the processes.

    Raises:
        SettingsError: When ``batch_size`` is smaller than the number of processes, each would train by itself, or
            ``auto_find_batch_size`` is set; when training begins, where the callback was added after the Trainer was
            made, or batches come from a sampler of the user's own.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[SharedBatches(8)])
        >>> len(trainer.get_train_dataloader()) == -(-len(train) // 8)
        True
    """

    reaches_parameters = True

    def __init__(self, batch_size: int | None = None) -> None:
        if batch_size is not None:
            check_int("SharedBatches", "batch_size", batch_size, low=1)
        self.batch_size = batch_size

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_together(args)
        if args.auto_find_batch_size:
            raise SettingsError(
                "SharedBatches keeps the rows of a step, and auto_find_batch_size would change them. Leave it out; "
                "more gradient_accumulation_steps take less memory for the same rows."
            )
        trainer = cast(Trainer, calling_trainer())
        size = self.batch_size or args.train_batch_size * args.world_size
        if size < args.world_size:
            raise SettingsError(
                f"SharedBatches(batch_size={size}) has fewer rows than there are processes ({args.world_size}). Give "
                "at least one for each."
            )
        vars(trainer)["get_train_dataloader"] = partial(_dealt, trainer.get_train_dataloader, size, args.device)
        if number_of_processes() > 1:
            vars(trainer)["compute_loss"] = partial(_loss_of_own_rows, trainer.compute_loss)
        guard_run()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        trainer = calling_trainer()
        if trainer is None or "get_train_dataloader" not in vars(trainer):
            raise SettingsError(
                "SharedBatches was added to a Trainer that was made. Pass it in Trainer(callbacks=[...])."
            )
        self.leave(model)
        mend_loss_scale(trainer, train_dataloader)
        counted = trainer.compute_loss_func is not None or type(trainer).compute_loss is not Trainer.compute_loss
        if trainer.label_smoother is not None and not counted:
            trainer.model_accepts_loss_kwargs = False  # a mean, which Trainers of some versions take for a sum
        if number_of_processes() > 1 and not counted and not getattr(model, "loss_of_all_processes", False):
            self._hook = model.register_forward_hook(_weighed, with_kwargs=True)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self.leave(model)

    def leave(self, model: nn.Module) -> None:
        """Takes the hook off."""
        if (hook := vars(self).pop("_hook", None)) is not None:
            hook.remove()


def row_share(args: tuple, kwargs: Mapping[str, Any]) -> Tensor | float:
    """What a mean over this process's rows is multiplied by, so that the mean over processes is one over all rows.

    Where labels are those of tokens, of which rows have different numbers, their labelled tokens count. All processes
    must call it.

    Args:
        args: What this process's forward was given by position.
        kwargs: And by name.
    """
    if number_of_processes() == 1:
        return 1.0
    given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    for nested in [value for value in args if isinstance(value, Mapping)]:
        given.update(nested)
    first = next((value for value in given.values() if isinstance(value, Tensor) and value.dim()), torch.zeros(1))
    labels = given.get("labels")
    if isinstance(labels, Tensor) and labels.dim() > 1 and not labels.is_floating_point():
        own = labels.ne(-100).sum().to(torch.float32)
    else:
        own = torch.tensor(float(len(first)), device=first.device)
    total = own.clone()
    distributed.all_reduce(total)
    return own * number_of_processes() / total.clamp(min=1)


@torch.compiler.disable
def _weighed(model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: the output with its loss, and whatever loss is made of it outside, weighed by its rows."""
    # Where Trainer has counted, a sum is divided by all processes' labels.
    if not (model.training and torch.is_grad_enabled()) or kwargs.get("num_items_in_batch") is not None:
        return None
    share = row_share(args, kwargs)
    if isinstance(output, tuple) and kwargs.get("labels") is not None:
        return (output[0] * share, *output[1:])
    loss = output.get("loss") if isinstance(output, Mapping) else None
    if isinstance(loss, Tensor):
        weighed = copy.copy(output)
        weighed["loss"] = loss * share
        return weighed
    for value in output.values() if isinstance(output, Mapping) else ():
        if isinstance(value, Tensor) and value.requires_grad:  # Trainer's label smoothing reads these
            value.register_hook(lambda gradient: gradient * share)
    return None


def _loss_of_own_rows(compute_loss: Any, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Trainer's ``compute_loss``, in evaluation without the rows that fill the last batch and count elsewhere."""
    if model.training:
        return compute_loss(model, inputs, *args, **kwargs)
    given = dict(inputs)
    found = compute_loss(model, inputs, *args, **kwargs)
    sizes = {len(value) for value in given.values() if isinstance(value, Tensor) and value.dim()}
    state = GradientState()
    if len(sizes) != 1 or not state.end_of_dataloader or state.remainder <= 0:
        return found
    (size,) = sizes
    own = min(max(state.remainder - process_number() * size, 0), size)
    if own in (0, size):  # of none the loss is not counted
        return found
    part = {name: value[:own] if isinstance(value, Tensor) and value.dim() else value for name, value in given.items()}
    loss = compute_loss(model, part)
    return (loss, *found[1:]) if isinstance(found, tuple) else loss


def _dealt(make_loader: Any, size: int, device: torch.device) -> DataLoader:
    """The loader that Trainer makes, with this process's part of each batch of ``size`` rows."""
    loader = make_loader()
    if isinstance(loader.dataset, DealtStream):
        return _of_stream(loader, size, device)
    if isinstance(loader.dataset, IterableDataset) or isinstance(loader, DataLoaderDispatcher):
        return loader
    batches = loader.batch_sampler
    if isinstance(batches, BatchSamplerShard):
        batches = batches.batch_sampler
    if number_of_processes() == 1 and getattr(batches, "batch_size", size) == size:
        return loader
    if type(batches) is not BatchSampler:
        raise SettingsError(
            f"SharedBatches deals batches of {size} rows to processes, but a {type(batches).__name__} makes batches of "
            "its own. Leave one of them out."
        )
    if hasattr(batches.sampler, "batch_size"):  # rows of like length side by side, in so many rows
        batches.sampler.batch_size = size * max(1, batches.sampler.batch_size // batches.batch_size)
    # Torch refuses a change of a loader that may be in use, which this one is not yet; accelerate's holds one of torch.
    inner = getattr(loader, "base_dataloader", loader)
    object.__setattr__(inner, "batch_sampler", _Parts(BatchSampler(batches.sampler, size, batches.drop_last)))
    return loader


def _of_stream(loader: DataLoader, size: int, device: torch.device) -> DataLoader:
    """The same loader on a stream that deals itself."""
    place, parts = process_number(), number_of_processes()
    part = range(size * place // parts, size * (place + 1) // parts)
    inner = getattr(loader, "base_dataloader", loader)
    options = {name: getattr(inner, name) for name in _LOADER_OPTIONS}
    stream = cast(DealtStream, loader.dataset).dealt(size, part)
    return DataLoaderShard(stream, device=device, batch_size=len(part), **options)


_LOADER_OPTIONS = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context",
    "prefetch_factor", "persistent_workers",
)  # fmt: skip


class _Parts(BatchSamplerShard):
    """This process's part of each batch: equal ones, as far as the rows allow."""

    def __init__(self, batches: BatchSampler) -> None:
        super().__init__(batches, number_of_processes(), process_number(), even_batches=False)
        self.split_batches = True  # so that its length is that of the whole batches

    def __iter__(self) -> Iterator[list[int]]:
        place, parts = self.process_index, self.num_processes
        for batch in self.batch_sampler:
            rows = len(batch)
            # Where there are fewer rows than processes each has all of them, of which the mean is the same.
            yield batch[rows * place // parts : rows * (place + 1) // parts] if rows >= parts else batch
