"""TENT: the normalisations of a trained network learn to make it sure of the target."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hf_transfer_kit.adaptation.objectives.entropy import conditional_entropy
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch
from hf_transfer_kit.adaptation.objectives.source_free import SourceFreeObjective
from hf_transfer_kit.errors import ModelError
from hf_transfer_kit.options import check_number

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


class TENT(SourceFreeObjective):
    """Mean entropy of target predictions, by scales and shifts of the normalisations alone (Wang et al. 2021, ICLR).

    BatchNorms use the statistics of the batch while they train. Safe, because so few weights move, and limited by the
    same: it mends a change of contrast or noise, not one of content.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        weight: Of the term, >= 0.

    Raises:
        SettingsError: When an option is out of range.
        ModelError: When the network has no normalisation with weights.
    """

    name: ClassVar[str] = "tent"
    summary: ClassVar[str] = "normalisations that make predictions on the target sure"

    def __init__(self, *, width: int, num_labels: int, weight: float = 1.0) -> None:
        super().__init__(width=width, num_labels=num_labels)
        self.weight = check_number(self.name, "weight", weight, low=0)

    def freeze(self, network: nn.Module, head: nn.Module) -> None:
        """All but the weights of normalisations, of transformers' and timm's own classes too (named ...Norm)."""
        moving = {
            id(parameter)
            for module in network.modules()
            if isinstance(module, _NORMS) or type(module).__name__.endswith(("Norm", "Norm2d", "BatchNormAct2d"))
            for parameter in module.parameters(recurse=False)
        }
        if not moving:
            raise ModelError(
                f"{type(network).__name__} has no normalisation with weights, which are all that tent trains. Choose "
                "shot or self_training."
            )
        for parameter in network.parameters():
            if id(parameter) not in moving:
                parameter.requires_grad_(False)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``target_entropy_loss``: mean entropy of the target's predictions."""
        return {"target_entropy_loss": self.weight * conditional_entropy(batch.target_logits)}
