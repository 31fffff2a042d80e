"""Tells datasets of several tasks which epoch it is, and refuses what would train wrongly."""

from __future__ import annotations

from typing import Any

from accelerate.data_loader import DataLoaderDispatcher, IterableDatasetShard
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.multitask.dataset import MultiTaskDataset
from hf_transfer_kit.multitask.modeling import MultiTaskModel
from hf_transfer_kit.multitask.sharding import check_shards
from hf_transfer_kit.multitask.streaming import StreamedMultiTaskDataset
from hf_transfer_kit.tuning.all_rows import check_together
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback

_ROUNDING = 1e-6


class MultiTaskEpochs(NetworkCallback):
    """Tells a ``MultiTaskDataset`` or ``StreamedMultiTaskDataset`` each epoch, also one in which a run is resumed.

    Raises:
        DataError: When training begins: when the model has a task that no source is labelled for, or the other way
            round.
        SettingsError: When training begins: when another dataset is read, or several processes would be sent parts of
            packed batches, or the model is sharded so that it would train wrongly.

    Example:
        >>> tasks = {"class": {"type": "classification", "num_labels": 3}}
        >>> several = MultiTaskModel.from_backbone(model, tasks)
        >>> rows = MultiTaskDataset({"pictures": Source(train, {"class": "labels"})})
        >>> packed = MultiTaskCollator({"default": collator}, several.config.tasks)
        >>> trainer = Trainer(several, args, train_dataset=rows, data_collator=packed, callbacks=[MultiTaskEpochs()])
        >>> _ = trainer.train()
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        check_together(args)
        dataset = _dataset_of(train_dataloader)
        inner = plain_model(model)[0]
        _check_tasks(getattr(getattr(inner, "config", None), "tasks", None), dataset.tasks)
        if isinstance(inner, MultiTaskModel):
            check_shards(inner)
        if args.world_size > 1 and isinstance(train_dataloader, DataLoaderDispatcher):
            raise SettingsError(
                "accelerate would glue the packed batches of several processes together, which mixes up whose rows are "
                "whose. Set accelerator_config={'dispatch_batches': False} in TrainingArguments."
            )

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        # A resumed run begins with a part of an epoch done.
        _dataset_of(train_dataloader).set_epoch(int((state.epoch or 0) + _ROUNDING))


def _dataset_of(loader: Any) -> MultiTaskDataset | StreamedMultiTaskDataset:
    dataset = getattr(loader, "dataset", None)
    if isinstance(dataset, IterableDatasetShard):
        dataset = dataset.dataset
    if not isinstance(dataset, MultiTaskDataset | StreamedMultiTaskDataset):
        raise SettingsError(
            f"MultiTaskEpochs tells a MultiTaskDataset or StreamedMultiTaskDataset the epoch, but training reads a "
            f"{type(dataset).__name__}. Give Trainer one of these, or leave the callback out."
        )
    return dataset


def _check_tasks(of_model: Any, of_sources: tuple[str, ...]) -> None:
    if of_model is None:
        return
    # A task of weight 0 is not to be learned.
    unlabelled = [task for task, settings in of_model.items() if settings.get("weight", 1) and task not in of_sources]
    if unlabelled:
        raise DataError(
            f"No source is labelled for {', '.join(unlabelled)}, so the model cannot learn it; sources are labelled "
            f"for {', '.join(of_sources)}. Add a source, or take the task out of the model."
        )
    unknown = [task for task in of_sources if task not in of_model]
    if unknown:
        raise DataError(
            f"Sources are labelled for {', '.join(unknown)}, but the model's tasks are {', '.join(of_model)}. Rename "
            "the task in the Source, or give the model the task."
        )
