"""Co-tuning: the source's head learns on, taught by how source classes relate to target classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.feature_maps import FeatureMaps, logits_layer
from hf_transfer_kit.backbones.shards import sharded_apart
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.tuning.checking import check_strength
from hf_transfer_kit.tuning.loss_terms.loss_term import LossTerm, label_argument_names
from hf_transfer_kit.tuning.loss_terms.source_model import SourceModel
from hf_transfer_kit.tuning.loss_terms.training_rows import batches, class_labels, spread_rows
from hf_transfer_kit.tuning.networks import GIVEN

_CHILD = "source_head"


def class_relationship(probabilities: torch.Tensor, labels: torch.Tensor, num_labels: int) -> torch.Tensor:
    """p(source class | target class): the mean prediction of the source over the rows of each target class.

    The direct estimate of You et al. 2020 ("Co-Tuning for transfer learning"). Their other one learns the reverse
    relationship and turns it round by Bayes' rule; it needs source data for calibration, this one does not.

    Args:
        probabilities: The source's predictions, of shape (N, S); rows sum to 1.
        labels: Target classes, of shape (N,), in [0, num_labels).
        num_labels: T, the number of target classes.

    Returns:
        Of shape (T, S); rows sum to 1, that of a class without a row is uniform.
    """
    sums = probabilities.new_zeros(num_labels, probabilities.shape[1]).index_add(0, labels, probabilities)
    counts = torch.bincount(labels, minlength=num_labels).unsqueeze(1)
    uniform = torch.full_like(sums, 1 / probabilities.shape[1])
    return torch.where(counts > 0, sums / counts.clamp(min=1), uniform)


def co_tuning_loss(logits: torch.Tensor, relationship: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the source head's predictions to the relationship's row of each label, a mean over rows.

    Args:
        logits: Of the source's head on the learning network, of shape (B, S).
        relationship: Of shape (T, S).
        labels: Of shape (B,); rows with -100 do not count.
    """
    counted = labels != -100
    rows = -(relationship[labels.clamp(min=0)] * F.log_softmax(logits, dim=-1)).sum(dim=-1)  # (B,)
    return (rows * counted).sum() / counted.sum().clamp(min=1)


class SourceHead(nn.Module):
    """The source's last layer, which trains on, and the relationship; both travel in the checkpoints.

    Args:
        layer: The source's last layer; copied.
        num_labels: Number of target classes.
    """

    relationship: torch.Tensor

    def __init__(self, layer: nn.Linear, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone()) if layer.bias is not None else None
        # Zeros until it is estimated before the first step.
        self.register_buffer("relationship", torch.zeros(num_labels, len(layer.weight), dtype=layer.weight.dtype))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Source logits (B, S) from features (B, D)."""
        return F.linear(features.to(self.weight.dtype), self.weight, self.bias)


class CoTuning(LossTerm, ExportableState):
    """Trains the whole pretrained network, its old last layer included, on the new data.

    Adds ``alpha * co_tuning_loss``: for a row of target class t the source's last layer shall predict the mix of
    source classes that the pretrained network saw in rows of class t. That mix is estimated before the first step, in
    evaluation mode, from all rows of the training data; every process does it by itself. You et al. 2020. Logged as
    ``co_tuning_penalty``.

    While training, the source's last layer hangs under the model's own last layer as ``source_head``: so it is in the
    optimizer, in the checkpoints and synchronised between processes. It is gone when training ends. With
    an optimizer of your own call ``attach(model)`` before it is made.

    Args:
        source: The source network with its trained head: a network, its name or folder. The model itself has a new
            head already.
        alpha: Weight of the term, >= 0.
        name: Its name in the logs; needed where a Trainer has several of a kind.

    Raises:
        SettingsError: When ``alpha`` is negative; when widths differ, the source's last layer is not in the
            optimizer, or the checkpoint that is resumed had another source (before training).
        DataError: When the training data is a stream or its labels are no class indices (before training).

    Example:
        >>> import copy
        >>> source = copy.deepcopy(model)
        >>> _ = replace_head(model, 3, seed=1)
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[CoTuning(source=source)])
        >>> _ = trainer.train()
        >>> "co_tuning_penalty" in trainer.state.log_history[0]
        True
    """

    scalar_name = "co_tuning_penalty"

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *,
        source: nn.Module | str | Path | None = None,
        alpha: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_strength("CoTuning", alpha=alpha)
        self.alpha = alpha
        self.source = SourceModel("CoTuning", source, required=True)
        self._child = _CHILD if name is None else f"{_CHILD}_{name.replace('.', '_')}"
        self._head: SourceHead | None = None
        self._has_ended = False
        self._layer: nn.Linear | None = None

    def attach(self, model: nn.Module) -> None:
        """Hangs the source's last layer under the model's; the Trainer does it, unless it was done before."""
        if self._layer is not None and any(module is self._layer for module in model.modules()):
            return
        self.source.take(model)
        name, layer = logits_layer(model)
        _, source_layer = logits_layer(self.source.network_of(model))
        if layer.in_features != source_layer.in_features:
            raise SettingsError(
                f"CoTuning: the last layer of the source takes {source_layer.in_features} features and {name!r} "
                f"{layer.in_features}. Give a source of the model's own architecture."
            )
        self._head = SourceHead(source_layer, layer.out_features).to(layer.weight.device)
        layer.add_module(self._child, self._head)
        self._layer = layer

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_init_end(args, state, control, model=model, **kwargs)
        self.attach(model)

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
        self._source = self.source.network(model, state)
        if self._head is None or all(module is not self._head for module in model.modules()):
            raise SettingsError(
                "CoTuning: the source's last layer does not hang under the model's, because training has ended before "
                "or the callback came late. Make a new Trainer with a new CoTuning(...) in callbacks=[...]."
            )
        learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if not all(id(parameter) in learning for parameter in self._head.parameters()):
            raise SettingsError(
                "CoTuning: the optimizer was made without the source's last layer. Call co_tuning.attach(model) before "
                "the optimizer is made, or let the Trainer make it."
            )
        if sharded_apart(model, self._head):
            raise SettingsError(
                "CoTuning: the source's last layer is sharded apart from the rest, with the model's own, and both are "
                "whole in turn only. Leave the last layer to the outermost group of FSDP2: wrap the blocks alone, with "
                "transformer_layer_cls_to_wrap."
            )
        if not self._head.relationship.any():
            self._head.relationship.copy_(self._estimate(train_dataloader))
        super().on_train_begin(args, state, control, model=model, train_dataloader=train_dataloader, **kwargs)

    def before_run(self, model: nn.Module) -> None:
        """Hangs the source's last layer again where a run was broken off, before a checkpoint is loaded."""
        if self._head is not None and not self._has_ended and any(module is self._layer for module in model.modules()):
            cast(nn.Linear, self._layer).add_module(self._child, self._head)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_train_end(args, state, control, model=model, **kwargs)
        self._has_ended = True

    def leave(self, model: nn.Module) -> None:
        """Takes the source's last layer off, so that nothing saves it with the model."""
        super().leave(model)
        if self._layer is not None and hasattr(self._layer, self._child):
            delattr(self._layer, self._child)

    def watch(self, model: nn.Module) -> FeatureMaps:
        """The input of the last layer."""
        return FeatureMaps(inputs={"feature": cast(nn.Linear, self._layer)})

    def term(self, model: nn.Module, maps: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> torch.Tensor:
        """alpha * co_tuning_loss."""
        feature = maps["feature"]
        if feature.dim() != 2:
            raise SettingsError(
                f"CoTuning needs one feature vector a row in front of the last layer of {type(model).__name__}; its "
                f"shape there is {tuple(feature.shape)}."
            )
        labels = class_labels(inputs, "CoTuning")
        head = cast(SourceHead, self._head)
        return self.alpha * co_tuning_loss(head(feature), head.relationship, labels)

    def state(self) -> dict:
        """What a checkpoint keeps beside the source's last layer: whose source it was."""
        return {"args": {}, "attributes": {"source_fingerprint": self.source.fingerprint}}

    @torch.no_grad()
    def _estimate(self, train_dataloader: DataLoader) -> torch.Tensor:
        _, layer = logits_layer(self._source)
        maps = FeatureMaps(outputs={"logits": [layer]})
        ignored = label_argument_names(self._source)
        probabilities, targets = [], []
        indices = spread_rows(train_dataloader, "CoTuning")
        size = train_dataloader.batch_size or 8
        for batch in batches(train_dataloader, indices, batch_size=size, device=layer.weight.device):
            labels = class_labels(batch, "CoTuning")
            maps.open()
            self._source(**{name: value for name, value in batch.items() if name not in ignored})
            counted = labels >= 0
            probabilities.append(torch.softmax(maps.close()["logits"].float(), dim=-1)[counted])
            targets.append(labels[counted])
        maps.remove()
        num_labels = len(cast(SourceHead, self._head).relationship)
        labels = torch.cat(targets)
        if len(labels) == 0 or int(labels.max()) >= num_labels:
            raise DataError(f"CoTuning: the labels of the training data must be classes 0 to {num_labels - 1}.")
        return class_relationship(torch.cat(probabilities), labels, num_labels)
