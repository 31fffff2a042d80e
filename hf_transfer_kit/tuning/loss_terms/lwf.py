"""Learning without forgetting: on the new data the source's head goes on saying what it said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.feature_maps import FeatureMaps, logits_layer, same_precision
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.checking import check_strength, is_number
from hf_transfer_kit.tuning.loss_terms.loss_term import LossTerm
from hf_transfer_kit.tuning.loss_terms.source_model import SourceModel
from hf_transfer_kit.tuning.networks import GIVEN


def distillation_loss(logits: torch.Tensor, source_logits: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """T^2 * KL(softmax(source / T) || softmax(logits / T)), a mean over rows.

    Its gradient is that of the cross-entropy of Li & Hoiem 2018 ("Learning without forgetting"), and it is 0 where the
    two agree. T^2 keeps the gradient's size independent of T (Hinton et al. 2015).

    Args:
        logits: Of shape (..., C).
        source_logits: The same shape; no gradient flows into it.
        temperature: T > 0.

    Returns:
        One element >= 0, float32 or better.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    now = F.log_softmax(logits.to(wide).flatten(0, -2) / temperature, dim=-1)
    before = F.log_softmax(source_logits.detach().to(wide).flatten(0, -2) / temperature, dim=-1)
    return temperature**2 * F.kl_div(now, before, reduction="batchmean", log_target=True)


class LwF(LossTerm, ExportableState):
    """Keeps the source task: the source's last layer, on the learning network, is held to the source's own outputs.

    Adds ``alpha * distillation_loss`` on the new task's inputs; no source data is needed. The source's last layer
    stays fixed (Li & Hoiem 2018 train it on), so that the source task is done afterwards by the trained network with
    the source's last layer, and nothing else has to be saved. Where the head has further layers, both tasks share
    them. Costs one forward of the source a step. Logged as ``lwf_penalty``.

    A network that learns further classes beside those of the source (``extend_head``) keeps these in its own last
    layer: with ``own_head=True`` the first outputs of that layer are held to what the source says.

    Args:
        source: The source network with its trained head: a network, its name or folder. The model itself has a new
            head, or one with more classes, already.
        own_head: Whether the model's own first logits are held, rather than those of the source's fixed last layer.
        alpha: Weight of the term, >= 0.
        temperature: T > 0; the paper's 2.
        name: Its name in the logs; needed where a Trainer has several of a kind.

    Raises:
        SettingsError: When a value is out of range or ``source`` is missing (at once); when widths differ, the model's
            first classes are not the source's with ``own_head``, or the checkpoint that is resumed had another source
            (before training).

    Example:
        >>> import copy
        >>> source = copy.deepcopy(model)
        >>> _ = replace_head(model, 3, seed=1)
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[LwF(source=source)])
        >>> _ = trainer.train()
        >>> "lwf_penalty" in trainer.state.log_history[0]
        True
    """

    scalar_name = "lwf_penalty"

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        *,
        source: nn.Module | str | Path | None = None,
        own_head: bool = False,
        alpha: float = 1.0,
        temperature: float = 2.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_strength("LwF", alpha=alpha)
        if not is_number(temperature) or not temperature > 0:
            raise SettingsError(f"LwF: temperature={temperature} is out of range; give a number above 0, such as 2.")
        self.own_head = own_head
        self.alpha = alpha
        self.temperature = temperature
        self.source = SourceModel("LwF", source, required=True)

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        super().on_init_end(args, state, control, model=model, **kwargs)
        self.source.take(model)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._source = self.source.network(model, state)
        _, self._source_layer = logits_layer(self._source)
        _, layer = logits_layer(model)
        if layer.in_features != self._source_layer.in_features:
            raise SettingsError(
                f"LwF: the last layer of the source takes {self._source_layer.in_features} features and that of the "
                f"model {layer.in_features}. Give a source of the model's own architecture."
            )
        if self.own_head:
            _check_first_classes(model, self._source, len(layer.weight), len(self._source_layer.weight))
        super().on_train_begin(args, state, control, model=model, **kwargs)
        self._source_maps = FeatureMaps(outputs={"logits": [self._source_layer]})

    def leave(self, model: nn.Module) -> None:
        """Takes the hooks off both networks."""
        super().leave(model)
        if (maps := vars(self).pop("_source_maps", None)) is not None:
            maps.remove()

    def watch(self, model: nn.Module) -> FeatureMaps:
        """The input of the last layer, or what it gives."""
        layer = logits_layer(model)[1]
        return FeatureMaps(outputs={"logits": [layer]}) if self.own_head else FeatureMaps(inputs={"feature": layer})

    def term(self, model: nn.Module, maps: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> torch.Tensor:
        """alpha * distillation_loss of the source's classes, old network against new."""
        device = self._source_layer.weight.device
        self._source_maps.open()
        with torch.no_grad(), same_precision(self._maps, device):
            self.run_beside(self._source, inputs)
        source_logits = self._source_maps.close()["logits"]
        if self.own_head:
            logits = maps["logits"][..., : source_logits.shape[-1]]
        else:
            logits = self._source_layer(maps["feature"].to(self._source_layer.weight.dtype))
        return self.alpha * distillation_loss(logits, source_logits, self.temperature)

    def state(self) -> dict:
        """What a checkpoint keeps: whose source it was."""
        return {"args": {}, "attributes": {"source_fingerprint": self.source.fingerprint}}


def _check_first_classes(model: nn.Module, source: nn.Module, outputs: int, source_outputs: int) -> None:
    """Refuses a model whose first classes are not those of the source."""
    names, theirs = (getattr(getattr(network, "config", None), "id2label", None) for network in (model, source))
    same = outputs >= source_outputs
    if names and theirs:
        same = same and [names.get(index) for index in range(source_outputs)] == [*theirs.values()][:source_outputs]
    if not same:
        raise SettingsError(
            f"LwF: own_head=True holds the model's first {source_outputs} of {outputs} outputs to the source's, but "
            "its first classes are not those of the source. Give the model more classes with extend_head, or leave "
            "own_head out where its head is new."
        )
