"""What the last linear layers of a network read, by its own way of pooling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from hf_transfer_kit.backbones.adapters import outermost
from hf_transfer_kit.backbones.feature_maps import logits_layer
from hf_transfer_kit.backbones.heads import PassedOn, find_head, last_layers
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.backbones.splitting.sample import tensors_of, usual_device
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import DataError, ModelError, NotFiniteError
from hf_transfer_kit.features.fixed_batches import FixedBatches
from hf_transfer_kit.features.head_solutions import Labelled
from hf_transfer_kit.features.layer_output import accepted_inputs

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Largest difference of logits relative to the largest, by what the network computes in; half precision has more."""


def linear_before(network: nn.Module, name: str) -> tuple[str, nn.Linear] | None:
    """The linear layer of the head that is defined right before its last one, ``name``; None where there is none."""
    layers = [(own, layer) for own, layer in find_head(network).items() if isinstance(layer, nn.Linear)]
    places = [place for place, (own, _) in enumerate(layers) if own == name]
    return layers[places[0] - 1] if places and places[0] > 0 else None


def solvable_layer(network: nn.Module, *, needs_bias: bool = False) -> tuple[str, nn.Linear]:
    """The one linear layer that gives the logits, with its name.

    Raises:
        ModelError: When there is none, several, one without a bias that is needed, or one laid out over processes.
    """
    name, layer = logits_layer(network)
    several = dict.fromkeys(outermost(network, place) for place in last_layers(network))  # peft has two in one place
    what = f"several layers give logits ({', '.join(several)})" if len(several) > 1 else ""
    if needs_bias and layer.bias is None:
        what = f"{name!r} has no bias, and the labels are no classes"
    elif has_shards(network):
        what = "its weights are laid out over processes"
    if what:
        raise ModelError(f"The head of {type(network).__name__} cannot be solved: {what}. Begin it at random.")
    return name, layer


class HeadReader:
    """Reads what the last layer of a network reads, or the last two where both are linear, by its own way of pooling.

    Args:
        network: Without wrappers. It is unchanged but while it is asked.
        check_on: A batch on which the last layer must give the logits of what is read.
        task_type: Labels that are no classes need a bias.

    Attributes:
        layer: The last layer.
        before: The linear layer before it, where what is read enters that one; else None.
        names: Of these layers.

    Raises:
        ModelError: When its logits are not those of one linear layer on one row of features for each input.
    """

    def __init__(self, network: nn.Module, *, check_on: Mapping[str, Tensor], task_type: str) -> None:
        self.network = network
        name, self.layer = solvable_layer(network, needs_bias=task_type != "classification")
        first = linear_before(network, name)
        if first is not None and self.layer.out_features <= first[1].out_features:  # else their product is no free one
            self._read((first[0], name), first[1])
            if self._gives_logits(check_on):
                return
        self._read((name,), None)
        if self._gives_logits(check_on):
            return
        raise ModelError(
            f"The head of {type(network).__name__} cannot be solved: its logits are not what {name!r} gives for "
            "one row of features each. Begin it at random."
        )

    @classmethod
    def of(cls, model: nn.Module, batch: Mapping[str, Any], *, task_type: str) -> HeadReader:
        """The same of a model in its wrappers, checked on a batch wherever that is."""
        network = plain_model(model)[0]
        return cls(network, check_on=tensors_of(batch, usual_device(network)), task_type=task_type)

    def _read(self, names: tuple[str, ...], before: nn.Linear | None) -> None:
        self.names, self.before = names, before

    def _gives_logits(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether the layers give the network's logits for what is read."""
        layers = [layer for layer in (self.before, self.layer) if layer is not None]
        with torch.no_grad(), seeded_eval_mode(self.network, 0):
            whole = self._logits(batch)
            try:
                features = self.features(batch)
            except DataError:  # a network that cuts its logits by the number of classes takes no features
                return False
            if features.shape != (len(whole), layers[0].in_features):
                return False
            expected = features.to(self.layer.weight.dtype)
            for layer in layers:
                expected = layer(expected)
            if whole.shape != expected.shape:
                return False
            gap = (whole.float() - expected.float()).abs().max()
            return bool(gap <= _TOLERANCE.get(whole.dtype, 3e-2) * expected.float().abs().max().clamp(min=1e-3))

    def features(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What enters the layers, (B, D), where one row of features does."""
        with _passed_on(self.network, self.names):
            return self._logits(batch)

    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = accepted_inputs(self.network, batch, without=())
        with misfits_told(self.network, batch):
            found = self.network(**inputs) if isinstance(inputs, dict) else self.network(*inputs)
        return found if isinstance(found, Tensor) else cast(Tensor, found["logits"])

    def labelled(
        self, dataset: Any, collate: Callable[[list], Mapping[str, Any]], *, batch_size: int, most: int, seed: int
    ) -> Labelled:
        """Features and labels of all rows of a dataset, or of so many that are drawn.

        Raises:
            DataError: When a batch has no labels.
            NotFiniteError: When a feature is not finite.
        """
        rows = cast(Dataset, dataset)
        if len(dataset) > most:
            drawn = np.sort(np.random.default_rng(seed).choice(len(dataset), most, replace=False))
            rows = Subset(rows, drawn.tolist())
        batches = FixedBatches(rows, collate, batch_size=batch_size, device=usual_device(self.network))
        features, labels = [], []
        with torch.no_grad(), seeded_eval_mode(self.network, 0):
            for start in range(0, batches.places, batch_size):
                batch = batches(start)
                if "labels" not in batch:
                    raise DataError("The rows have no labels, so there is nothing to solve the head on. Give some.")
                features.append(self.features(batch).float().cpu())
                labels.append(batch["labels"].cpu())
        found = torch.cat(features).numpy()
        if not np.isfinite(found).all():
            raise NotFiniteError(f"not finite: the features of {type(self.network).__name__} that its head reads")
        return Labelled(found, torch.cat(labels).numpy())


@contextmanager
def _passed_on(network: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """While it lasts the layers give what they read."""
    layers = {name: network.get_submodule(name) for name in names}
    for name in names:
        network.set_submodule(name, PassedOn())
    try:
        yield
    finally:
        for name, layer in layers.items():
            network.set_submodule(name, layer)
