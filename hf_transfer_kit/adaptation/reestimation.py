"""BatchNorm statistics gathered anew on the target, after training and without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation.domain_pairs import unlabelled_batch
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data.labels import LABEL_COLUMNS
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.averaging.statistics import even_batches, gather_statistics
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.values import MapRows

Collator = Callable[[list[Any]], Mapping[str, Any]]


@checked_arguments()
def reestimate_batch_norm(
    model: nn.Module,
    target: MapRows,
    collator: Collator,
    *,
    batch_size: int = 256,
    max_rows: int | None = None,
) -> nn.Module:
    """Replaces the running statistics of every BatchNorm by their mean over batches of the target, in place.

    Adaptive batch normalization (Li et al. 2017, arXiv 1603.04779). All else runs as in evaluation; modes and random
    state stay as they were. The cost is one forward pass.

    Args:
        model: Any network; without BatchNorm nothing changes.
        target: Map-style dataset of target rows; labels in them are not used.
        collator: Rows -> batch, as Trainer would get it.
        batch_size: Rows in a batch; larger ones are nearer to the statistics of all rows.
        max_rows: How many rows, evenly spread; None takes all.

    Returns:
        The model.

    Raises:
        DataError: When there are no target rows, or a single one.

    Example:
        >>> before = model.resnet.embedder.embedder.normalization.running_mean.clone()
        >>> _ = reestimate_batch_norm(model, target, collator)
        >>> bool((model.resnet.embedder.embedder.normalization.running_mean != before).all())
        True
    """
    _check_numbers("reestimate_batch_norm", batch_size, max_rows)
    if len(target) == 0:
        raise DataError("The target is empty, so there is nothing to gather BatchNorm statistics on.")
    inner, _ = plain_model(model)
    norms: list[Any] = batch_norms(inner)
    if not norms:
        return model
    if min(len(target), max_rows or len(target)) == 1:
        raise DataError("The target has a single row, which has no statistics. Give two rows or more.")
    # A collator made for labelled rows may insist on labels where the target has none.
    labels = [name for name in target[0] if name in LABEL_COLUMNS] or ["labels"]
    batches = (
        unlabelled_batch(collator, [target[row] for row in places], labels=labels)
        for places in even_batches(len(target), batch_size, max_rows)
    )
    gather_statistics(inner, norms, batches)
    return model


class ReestimateBatchNorm(NetworkCallback):
    """Gathers BatchNorm statistics on the target when training ends, after the best checkpoint was loaded.

    Every process does it for itself, with the same result.

    Args:
        target: As in ``reestimate_batch_norm``, like the rest.
        collator: Rows -> batch; a ``DomainCollator`` will do.
        batch_size: Rows in a batch.
        max_rows: How many rows; None takes all.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[ReestimateBatchNorm(target, collator)])
        >>> _ = trainer.train()
    """

    reaches_parameters = True
    instead_of_shards = "Or call reestimate_batch_norm(model, target, collator) on the saved network."

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        target: MapRows,
        collator: Collator,
        *,
        batch_size: int = 256,
        max_rows: int | None = None,
    ) -> None:
        _check_numbers(type(self).__name__, batch_size, max_rows)
        self.target = target
        self.collator = collator
        self.batch_size = batch_size
        self.max_rows = max_rows

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        reestimate_batch_norm(model, self.target, self.collator, batch_size=self.batch_size, max_rows=self.max_rows)


def _check_numbers(owner: str, batch_size: int, max_rows: int | None) -> None:
    """Refuses batches and numbers of rows below 1."""
    check_int(owner, "batch_size", batch_size, low=1)
    if max_rows is not None:
        check_int(owner, "max_rows", max_rows, low=1)
