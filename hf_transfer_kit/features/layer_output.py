"""The output of one layer, a row of features for each row of a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import find_labels

from hf_transfer_kit.backbones import find_head, layer_groups
from hf_transfer_kit.backbones.feature_maps import (
    FeatureMaps,
    channel_axis,
    group_output,
    head_input,
    is_added_up_outside,
    position_mask,
)
from hf_transfer_kit.backbones.pooling import pooled_positions
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.values import LayerGroup

POOLED = "pooled"
_LABELS = {"labels", "label", "label_ids"}


@dataclass(frozen=True)
class Tap:
    """Where features are taken.

    Args:
        name: ``"pooled"`` or the name of a layer group.
        modules: Qualified names; of several the one that runs last counts. ``""`` is the model itself.
        is_input: Whether the input of the module is taken, not its output.
    """

    name: str
    modules: tuple[str, ...]
    is_input: bool


def find_tap(model: nn.Module, layer: str | int, *, example_inputs: Callable[[], Mapping[str, Any]]) -> Tap:
    """The place that ``layer`` means in a model without wrappers.

    Args:
        model: The model.
        layer: ``"pooled"``: what enters the first layer of the head that has parameters; the model's own output where
            it has none. Or the name or depth of a layer group before the head.
        example_inputs: Gives one batch; asked for where the architecture is unknown and one forward must tell its
            order.

    Raises:
        SettingsError: When there is no such layer group.
    """
    if layer == POOLED:
        has_head = any(True for module in find_head(model).values() for _ in module.parameters())
        return Tap(POOLED, (head_input(model)[0],), True) if has_head else Tap(POOLED, ("",), False)
    learn_inputs(model, example_inputs)
    body = layer_groups(model).body
    if isinstance(layer, int) and not isinstance(layer, bool) and -len(body) <= layer < len(body):
        chosen: LayerGroup | None = body[layer]
    else:
        chosen = next((group for group in body if group.name == layer), None)
    if chosen is None:
        raise SettingsError(
            f"layer={layer!r} is no layer group of {type(model).__name__} before its head. Choose 'pooled', a depth "
            f"from 0 to {len(body) - 1}, or one of {', '.join(group.name for group in body)}."
            f"{did_you_mean(layer, [POOLED, *(group.name for group in body)])}"
        )
    if chosen is body[0] and len(body) > 1 and is_added_up_outside(chosen):
        return Tap(chosen.name, (next(iter(body[1].modules)),), True)
    return Tap(chosen.name, tuple(group_output(chosen, first=chosen is body[0])), False)


def learn_inputs(model: nn.Module, make_batch: Callable[[], Mapping[str, Any]]) -> None:
    """Where no inputs can be made up for a forward of ``model``, a batch of its data serves from now on."""
    try:
        layer_groups(model)
    except ModelError:
        accepted = accepted_inputs(plain_model(model)[0], make_batch(), without=())
        layer_groups(model, example_inputs=accepted if isinstance(accepted, dict) else accepted[0])


def accepted_inputs(
    model: nn.Module, batch: Mapping[str, Any], *, without: Collection[str]
) -> dict[str, Any] | tuple[Tensor]:
    """What of a batch goes into the model: by name where its forward has such names, else the one tensor by position.

    Args:
        model: The model, without wrappers.
        batch: Name -> value; labels are no input.
        without: Further names that are no input.

    Raises:
        DataError: When nothing fits.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    names = {parameter.name for parameter in parameters}
    left_out = _LABELS | (set(without) - names) | set(find_labels(type(model)))
    inputs = {name: value for name, value in batch.items() if name not in left_out}
    if named := {name: value for name, value in inputs.items() if name in names}:
        return named
    tensors = [value for value in inputs.values() if isinstance(value, Tensor)]
    if len(tensors) == 1 and not isinstance(model, PreTrainedModel):
        return (tensors[0],)
    raise DataError(
        f"{type(model).__name__} reads {', '.join(sorted(names))}, but the collated batch holds "
        f"{', '.join(map(str, batch))}. Give the collator that Trainer would get, with collator=."
    )


class LayerOutput:
    """Takes the features of a batch at one place of a model; ``remove`` takes its hooks off again.

    Args:
        model: The model, without wrappers.
        tap: Where.
        pooling: None keeps positions (except at ``"pooled"``, where it is the mean), else as in ``pooled_positions``.
        without: Names in the batch that are no input.
    """

    def __init__(self, model: nn.Module, tap: Tap, *, pooling: str | None, without: Collection[str]) -> None:
        self.model = model
        self.tap = tap
        self.pooling = pooling or ("mean" if tap.name == POOLED else None)
        self.without = without
        modules = [model.get_submodule(name) for name in tap.modules]
        self._last = modules[-1]
        if tap.is_input:
            self._maps = FeatureMaps(inputs={tap.name: modules[0]})
        else:
            self._maps = FeatureMaps(outputs={tap.name: modules})

    def remove(self) -> None:
        """Takes the hooks off."""
        self._maps.remove()

    def __call__(self, batch: Mapping[str, Any]) -> tuple[Tensor | Sequence[Tensor], bool]:
        """Features of a batch, and whether the layer gave several positions a row.

        Features are (B, D) where they are pooled or have no positions. Positions that are kept stay (B, C, H, W),
        (B, H, W, C), or (B, P, D) of pictures; of texts and sounds each row keeps what is no padding: B tensors of
        shape (T of the row, D).

        Raises:
            DataError: When the batch does not fit the model.
            ModelError: When the layer does not run, or gives no row for each row of the batch.
        """
        # Not inference mode: what a network makes at its first forward and keeps could not be trained with later.
        with torch.no_grad():
            features = self._map(batch)
            return self._rows(features, batch), features.dim() > 2

    def _map(self, batch: Mapping[str, Any]) -> Tensor:
        inputs = accepted_inputs(self.model, batch, without=self.without)
        self._maps.open()
        try:
            with misfits_told(self.model, batch):
                self.model(**inputs) if isinstance(inputs, dict) else self.model(*inputs)
        finally:
            caught = self._maps.close()
        features = caught.get(self.tap.name)
        size = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs[0])
        if features is None or features.dim() < 2 or len(features) != size:
            found = "gave no tensor" if features is None else f"gave a tensor of shape {tuple(features.shape)}"
            raise ModelError(
                f"{', '.join(self.tap.modules) or type(self.model).__name__} {found} for a batch of {size} rows, so "
                "it has no row of features for each of them. Choose another layer."
            )
        return features

    def _rows(self, features: Tensor, batch: Mapping[str, Any]) -> Tensor | Sequence[Tensor]:
        if features.dim() == 2 or (features.dim() > 3 and self.pooling is None):
            return features
        axis = channel_axis(self.model, features.dim(), module=None if self.tap.is_input else self._last)
        positions = features.movedim(axis, -1).flatten(1, -2)  # (B, P, D)
        mask = None
        if features.dim() == 3:
            mask = position_mask(self.model, batch.get("attention_mask"), positions.shape[1])
        if self.pooling is not None:
            return pooled_positions(positions, mask, how=self.pooling)
        if mask is not None:
            return [row[kept] for row, kept in zip(positions, mask, strict=True)]
        pictures = any(isinstance(value, Tensor) and value.dim() == 4 for value in batch.values())
        return positions if pictures else list(positions.unbind(0))
