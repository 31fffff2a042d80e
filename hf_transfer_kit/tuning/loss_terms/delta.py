"""DELTA: what the layers see may change little, rather than what the weights are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.backbones.feature_maps import FeatureMaps, body_modules, channel_axis, same_precision
from hf_transfer_kit.backbones.layer_drop import layer_drop
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.checking import check_strength
from hf_transfer_kit.tuning.layouts import check_layout
from hf_transfer_kit.tuning.loss_terms.channel_attention import channel_attention
from hf_transfer_kit.tuning.loss_terms.loss_term import LossTerm
from hf_transfer_kit.tuning.loss_terms.source_model import SourceModel, saved_attributes
from hf_transfer_kit.tuning.networks import GIVEN


def feature_map_distance(
    current: torch.Tensor,
    source: torch.Tensor,
    *,
    axis: int,
    weights: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Channel-weighted squared distance of two feature maps, a mean over samples and positions.

    D(F, F0) = mean over samples b of sum over channels c of W_c * mean over positions p of (F_bcp - F0_bcp)^2.

    Li et al. 2019 sum over positions; the mean makes one strength fit maps of all sizes.

    Args:
        current: F, of shape (B, C, H, W), (B, T, C), (B, C) or any with samples first.
        source: F0, the same shape; no gradient flows into it.
        axis: Which axis is that of the channels.
        weights: W, of shape (C,), a distribution; None is 1 / C.
        mask: Of shape (B, T), nonzero where a position counts; only for maps (B, T, C).

    Returns:
        One element >= 0, float32 or better.
    """
    wide = torch.promote_types(current.dtype, torch.float32)
    squared = (current.to(wide) - source.detach().to(wide)).square()
    squared = squared.movedim(axis, -1).flatten(1, -2) if squared.dim() > 2 else squared.unsqueeze(1)  # (B, P, C)
    if mask is None:
        by_channel = squared.mean(dim=1)  # (B, C)
    else:
        counts = mask.to(wide).unsqueeze(-1)  # (B, T, 1)
        by_channel = (squared * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
    if weights is None:
        return by_channel.mean()
    return (by_channel * weights.to(by_channel)).sum(dim=-1).mean()


class DELTA(LossTerm, ExportableState):
    """Holds the feature maps of the layers near those of the pretrained network, on the same inputs.

    Adds ``alpha * sum over layers of feature_map_distance + beta / 2 * |w_head|^2`` to the loss. Li et al. 2019,
    "DELTA: deep learning transfer using feature map with attention". Costs one forward of the source network a step.
    The source runs in evaluation mode: its BatchNorm uses its own statistics, its dropout is off. Positions that an
    ``attention_mask`` marks as padding do not count where the map has the mask's length. A layer that ``layerdrop``
    leaves out of a forward has no feature map there and counts zero in it. Logged as ``delta_penalty``.

    Args:
        alpha: Strength, >= 0. Distances are means over samples, positions and channels, so that values of order 1
            weigh as much as the task.
        beta: Plain decay of the head's weights, >= 0, beside that of the optimizer.
        layers: Number of layer groups, spread evenly over the body, the last one included (the paper's four), or names
            of layer groups or modules.
        attention: ``"uniform"``, all channels alike, or ``"loss"``, the paper's: a softmax over the loss that zeroing
            a channel costs, estimated once before the first step from ``attention_rows`` rows of the training data.
            It takes a forward a channel, and unless some channels matter far more than others their weights come out
            nearly alike, so uniform is the default.
        attention_rows: Rows for the estimate.
        source: The pretrained network, its name or folder; by default a copy of the model as the Trainer is made.
        name: Its name in the logs; needed where a Trainer has several of a kind.

    Raises:
        SettingsError: When a value is out of range (at once); when the checkpoint that is resumed had another source,
            or Trainer does not use the model's loss (before training where the arguments show it).

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[DELTA(alpha=1.0, layers=2)])
        >>> _ = trainer.train()
        >>> "delta_penalty" in trainer.state.log_history[0]
        True
    """

    scalar_name = "delta_penalty"
    needs_every_map = False

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        layers: int | str | Sequence[str] = 4,
        attention: str = "uniform",
        attention_rows: int = 64,
        source: nn.Module | str | Path | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_strength("DELTA", alpha=alpha, beta=beta)
        if attention not in ("uniform", "loss"):
            raise SettingsError(f"DELTA: attention={attention!r} is unknown; choose 'uniform' or 'loss'.")
        if attention_rows < 2:
            raise SettingsError(f"DELTA: attention_rows={attention_rows} is too few; give at least 2 rows.")
        self.alpha = alpha
        self.beta = beta
        self.layers = layers
        self.attention = attention
        self.attention_rows = attention_rows
        self.source = SourceModel("DELTA", source)
        self.channel_weights: dict[str, list[float]] | None = None

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_init_end(args, state, control, model=model, **kwargs)
        self._check_beta(model)
        layer_groups(model)  # remembered: a sharded model does not tell them any more
        self.source.take(model)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._check_beta(model)
        self._source = self.source.network(model, state)
        self._names = body_modules(model, self.layers)
        head = layer_groups(model).head
        self._head = list(head.parameters.values()) if self.beta and head is not None else []
        self._set_weights(model, state, train_dataloader)
        super().on_train_begin(args, state, control, model=model, train_dataloader=train_dataloader, **kwargs)
        self._source_maps = FeatureMaps(outputs=_modules(self._source, self._names))

    def leave(self, model: nn.Module) -> None:
        """Takes the hooks off both networks."""
        super().leave(model)
        if (maps := vars(self).pop("_source_maps", None)) is not None:
            maps.remove()

    def watch(self, model: nn.Module) -> FeatureMaps:
        """The outputs of the chosen layers."""
        return FeatureMaps(outputs=_modules(model, self._names))

    def term(self, model: nn.Module, maps: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> torch.Tensor:
        """alpha * sum of distances + beta / 2 * |w_head|^2."""
        source_maps = self._maps_of_the_source(inputs)
        dropped = set(self._names) - set(maps) if layer_drop(model) else set()
        ran = [name for name in self._names if name not in dropped or name not in source_maps]
        total = torch.zeros((), device=next(model.parameters()).device)
        for name in ran:
            total = total + self._distance(model, name, maps, source_maps, inputs)
        if self._head:
            squares = torch.stack([parameter.float().square().sum() for parameter in self._head])
            return self.alpha * total + self.beta / 2 * squares.sum().to(total)
        return self.alpha * total

    def state(self) -> dict:
        """What a checkpoint keeps: whose source it was, and how its channels were weighted."""
        attributes = {"source_fingerprint": self.source.fingerprint, "channel_weights": self.channel_weights}
        return {"args": {}, "attributes": attributes}

    def _check_beta(self, model: nn.Module) -> None:
        if self.beta:
            way = f"L2SP(alpha=0.0, beta={self.beta}, clipped=True) beside DELTA(beta=0.0) does the same there."
            check_layout(f"DELTA(beta={self.beta})", model, instead=way)

    def _maps_of_the_source(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        self._source_maps.open()
        with torch.no_grad(), same_precision(self._maps, next(self._source.parameters()).device):
            self.run_beside(self._source, inputs)
        return self._source_maps.close()

    def _distance(
        self,
        model: nn.Module,
        name: str,
        maps: Mapping[str, torch.Tensor],
        source_maps: Mapping[str, torch.Tensor],
        inputs: Mapping[str, Any],
    ) -> torch.Tensor:
        if name not in maps or name not in source_maps:
            raise SettingsError(
                f"DELTA: {name!r} gave no tensor in the forward of {type(model).__name__}, so there is no feature map "
                "to compare. Leave it out of layers=."
            )
        current, source = maps[name], source_maps[name]
        if current.shape != source.shape:
            raise SettingsError(
                f"DELTA: the feature map of {name!r} has shape {tuple(current.shape)} in the model and "
                f"{tuple(source.shape)} in the source. Give a source of the model's own architecture."
            )
        mask = inputs.get("attention_mask")
        if current.dim() != 3 or mask is None or mask.shape != current.shape[:2]:
            mask = None
        weights = self._weights.get(name) if self._weights else None
        return feature_map_distance(
            current, source, axis=channel_axis(model, current.dim()), weights=weights, mask=mask
        )

    def _set_weights(self, model: nn.Module, state: TrainerState, train_dataloader: DataLoader) -> None:
        """Channel weights: those of the checkpoint, else estimated now."""
        saved = [entry["channel_weights"] for entry in saved_attributes(state, "DELTA") if entry.get("channel_weights")]
        self._weights = None
        if self.attention == "uniform":
            self.channel_weights = None
            return
        if state.global_step and saved:
            self.channel_weights = next((s for s in saved if set(s) == set(self._names)), None)
        if self.channel_weights is None:
            self.channel_weights = channel_attention(
                self._source, self._names, train_dataloader, rows=self.attention_rows
            )
        device = next(model.parameters()).device
        self._weights = {name: torch.tensor(w, device=device) for name, w in self.channel_weights.items()}


def _modules(network: nn.Module, names: dict[str, list[str]]) -> dict[str, list[nn.Module]]:
    return {name: [network.get_submodule(inner) for inner in inners] for name, inners in names.items()}
