"""One loss for a batch, in however many pieces: what Trainer takes for granted and many models do not do.

Trainer hands ``num_items_in_batch`` to every model whose forward has room for it, and then leaves the division by the
number of accumulation steps and of processes to the model. Many take it and return a plain mean (ResNet, ViT, BERT):
their loss and gradient are then N times those of one big batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.backbones.seeded_eval_mode import preserved_random_state, seeded_eval_mode
from hf_transfer_kit.compat import loss_is_scaled
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.tuning.calling import calling_trainer
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.values.rows import DealtStream

logger = get_logger(__name__)


class FairLossScale(NetworkCallback):
    """Makes N accumulation steps or processes train on the loss of one big batch, whatever the model does.

    Before training the model's loss is computed twice on two rows, for two values of ``num_items_in_batch``; where it
    is the same, Trainer is told not to rely on it. ``L2SP``, ``DELTA`` and the other parts that stand beside the loss
    do this by themselves; streams that come once, and Trainers with a loss of their own, are left alone.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[FairLossScale()])
        >>> _ = trainer.train()
    """

    reaches_parameters = True

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        mend_loss_scale(calling_trainer(), train_dataloader)


def mend_loss_scale(trainer: Trainer | None, train_dataloader: DataLoader | None) -> None:
    """Tells ``trainer`` whether its model heeds ``num_items_in_batch``, where that makes a difference."""
    if trainer is None or not trainer.model_accepts_loss_kwargs or loss_is_scaled(trainer) is not None:
        return
    pieces = trainer.args.gradient_accumulation_steps * trainer.args.world_size
    own_loss = trainer.compute_loss_func is not None or trainer.label_smoother is not None
    if pieces == 1 or own_loss or type(trainer).compute_loss is not Trainer.compute_loss:
        return
    batch = _two_rows(train_dataloader, trainer.args.device)
    if batch is not None and not heeds_item_count(trainer.accelerator.unwrap_model(trainer.model), batch):
        trainer.model_accepts_loss_kwargs = False
        if trainer.is_world_process_zero():
            logger.info(
                f"{type(trainer.model).__name__} takes num_items_in_batch and does not use it, so its loss is divided "
                f"by the {pieces} pieces of a batch here."
            )


@torch.no_grad()
def heeds_item_count(model: nn.Module, batch: Mapping[str, Any]) -> bool:
    """Whether the model's loss is a sum over ``num_items_in_batch``; True also where it cannot be told."""
    losses = []
    for items in (64.0, 128.0):
        with seeded_eval_mode(model, seed=0):
            try:
                output = model(**batch, num_items_in_batch=torch.tensor(items, device=_device(batch)))
            except Exception:
                return True
        loss = output.get("loss") if isinstance(output, Mapping) else output[0]
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            return True
        losses.append(loss.float().item())
    return losses[0] != losses[1] or losses[0] != losses[0] or losses[0] == 0.0


def _device(batch: Mapping[str, Any]) -> torch.device:
    return next((v.device for v in batch.values() if isinstance(v, torch.Tensor)), torch.device("cpu"))


def _two_rows(loader: DataLoader | None, device: torch.device) -> dict[str, Any] | None:
    """Two rows as training reads them; None where they cannot be had without taking them from training."""
    dataset: Any = getattr(loader, "dataset", None)
    if isinstance(dataset, DealtStream):
        dataset = dataset.sample
    if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or not len(dataset):
        return None
    with preserved_random_state():
        batch = cast(DataLoader, loader).collate_fn([dataset[0], dataset[len(dataset) - 1]])
    return dict(on_device(batch, device)) if isinstance(batch, Mapping) else None
