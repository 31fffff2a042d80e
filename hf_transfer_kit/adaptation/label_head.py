"""Where a classifier's features end and its label head begins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_transfer_kit.adaptation.subclassing import override_forward
from hf_transfer_kit.backbones.adapters import without_adapter
from hf_transfer_kit.backbones.feature_maps import label_head
from hf_transfer_kit.backbones.pooling import pooled_positions
from hf_transfer_kit.backbones.precision import HALF, called_in_float32
from hf_transfer_kit.errors import ModelError

_CAUGHT = "_caught_input"


@cache
def _catching(base: Any) -> type[nn.Module]:
    class Catching(base):
        """Keeps what enters it."""

        def forward(self, features: Tensor) -> Tensor:
            setattr(self, _CAUGHT, features)
            return base.forward(self, features)

    return Catching


class LabelHead:
    """The part of a classifier that turns one row of features into logits, and a way to see what enters it.

    It is the layer that gives the logits; where that is the end of a Sequential in the head, all of the Sequential, so
    that a label head of several layers (that of the DANN paper, say) is not counted as features.

    Args:
        network: A classifier of transformers, whose head is made to keep what enters it.

    Raises:
        ModelError: When the network has no linear layer at its end, or several of them side by side.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        self.network_name = type(network).__name__
        self.pad_token_id = getattr(network.config, "pad_token_id", None)
        self.network = network
        self.name, module = label_head(network)
        plain = without_adapter(module)
        self.width = next(layer.in_features for layer in plain.modules() if isinstance(layer, nn.Linear))
        override_forward(module, _catching)

    @property
    def module(self) -> nn.Module:
        """The head as it stands in the network now: peft may have put an adapter or a copy in its place."""
        return self.network.get_submodule(self.name)

    def features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What entered the head in the last forward, (B, D); may be asked for once a forward.

        Args:
            inputs: The inputs of that forward, by name: they tell which position a decoder reads its class from.

        Raises:
            ModelError: When it is no single row of D features for each input.
        """
        caught = self._caught()
        if caught.dim() == 3 and "input_ids" in inputs and caught.shape[1] == inputs["input_ids"].shape[1]:
            # Decoders classify every position and keep the last one that is no padding.
            mask = None if self.pad_token_id is None else inputs["input_ids"] != self.pad_token_id
            return pooled_positions(caught, mask, how="last")
        rows = caught.flatten(1)
        if rows.shape[1] != self.width:
            raise ModelError(
                f"What enters {self.name!r} of {self.network_name} has the shape {tuple(caught.shape)}: no pooled "
                f"features, one row of {self.width} for each input. Choose a backbone that pools before its head."
            )
        return rows

    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, C) of features (N, D), as the network would give them; of float32 features in float32."""
        half = torch.is_autocast_enabled(features.device.type) or features.dtype in HALF
        logits = self.module(features) if half else called_in_float32(self.module, features)
        self._caught()
        return logits

    def _caught(self) -> Tensor:
        """What entered the head, or of several copies of it the one that ran."""
        ran = next(module for module in self.module.modules() if module.__dict__.get(_CAUGHT) is not None)
        caught = cast(Tensor, getattr(ran, _CAUGHT))
        setattr(ran, _CAUGHT, None)  # torch 2.8 compiles no delattr
        return caught
