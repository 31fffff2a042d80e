"""Labels that a network gives the target's rows itself, anew from time to time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.domain_pairs import unlabelled_batch
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.objectives import METHODS
from hf_transfer_kit.adaptation.refreshed_buffer import RefreshedBuffer
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.labels import LABEL_COLUMNS, NO_LABEL
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.all_rows import Part
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.values.rows import evenly_spread

Rows = MapRows
Collator = Callable[[list[Any]], Mapping[str, Any]]


@torch.no_grad()
def target_outputs(
    model: DomainAdversarialModel, target: Rows, collator: Collator, *, batch_size: int = 256, together: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and features (N, D) of target rows, float32 on the CPU, as in evaluation; labels are not read.

    Args:
        model: Which reads them.
        target: Map-style rows.
        collator: Rows -> batch.
        batch_size: Rows a forward.
        together: Whether all processes call it, so that each reads a part; all get everything.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="tent")
        >>> logits, features = target_outputs(adapted, target, collator)
        >>> logits.shape, features.shape
        (torch.Size([8, 3]), torch.Size([8, 16]))
    """
    labels = [name for name in target[0] if name in LABEL_COLUMNS]
    device = next(model.parameters()).device
    part = Part(len(target), together=together)
    found: list[tuple[Tensor, Tensor]] = []
    with seeded_eval_mode(model, seed=0):
        for places in part.batches(batch_size):
            batch = unlabelled_batch(collator, [target[row] for row in places], labels=labels)
            found.append(model.read(on_device(batch, device), domain="target"))
    logits, features = (part.whole(torch.cat(tensors).float()).cpu() for tensors in zip(*found, strict=True))
    return logits, features


class PseudoLabels(RefreshedBuffer):
    """Gives target rows the labels that the objective makes of their features, before training and every so often.

    ``shot`` labels by the nearest centre, ``clusters`` where centres and neighbours agree.

    Checkpoints hold the labels as ``pseudo_labels.safetensors``; a resumed run goes on with them.

    Args:
        target: The rows that are trained on, in the order of their numbers.
        collator: Rows -> batch.
        every: Steps between two labellings, at least 1; None: each epoch.
        batch_size: Rows a forward.
        max_rows: How many rows get labels, evenly spread; None: all.

    Raises:
        SettingsError: When an argument is out of range; before training, when the method asks for no labels.

    Example:
        >>> rows = TargetRows(target)
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="shot")
        >>> callbacks = [AdversarialSchedule("constant"), PseudoLabels(target, collator)]
        >>> trainer = Trainer(
        ...     adapted, args, train_dataset=rows, data_collator=DomainCollator(collator), callbacks=callbacks
        ... )
        >>> _ = trainer.train()
    """

    file: ClassVar[str] = "pseudo_labels.safetensors"

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        target: Rows,
        collator: Collator,
        *,
        every: int | None = None,
        batch_size: int = 256,
        max_rows: int | None = None,
    ) -> None:
        super().__init__(every)
        self.target = target
        self.collator = collator
        self.batch_size = check_int("PseudoLabels", "batch_size", batch_size, low=1)
        self.max_rows = None if max_rows is None else check_int("PseudoLabels", "max_rows", max_rows, low=2)

    def place(self, model: DomainAdversarialModel) -> tuple[nn.Module, str]:
        """``pseudo_labels`` of the objective."""
        if not hasattr(model.objective, "target_labels"):
            raise SettingsError(
                f"{model.objective.name} asks for no labels of target rows. Leave PseudoLabels out, or choose a method "
                f"that does: {', '.join(name for name, kind in METHODS.items() if hasattr(kind, 'target_labels'))}."
            )
        return model.objective, "pseudo_labels"

    def value(self, model: DomainAdversarialModel) -> Tensor:
        """The class of each row, int64 (N,), ``NO_LABEL`` for one that gets none."""
        chosen = evenly_spread(len(self.target), self.max_rows)
        rows = [self.target[row] for row in chosen] if len(chosen) < len(self.target) else self.target
        logits, features = target_outputs(model, rows, self.collator, batch_size=self.batch_size, together=True)
        labels = torch.full((len(self.target),), NO_LABEL)
        labels[chosen] = cast(Any, model.objective).target_labels(features, logits.softmax(dim=1))
        return labels
