"""Batch spectral shrinkage: the directions that hardly matter to a batch of features are made to matter less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.feature_maps import FeatureMaps, channel_axis, head_input, pooled
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.all_rows import all_rows
from hf_transfer_kit.tuning.checking import check_strength
from hf_transfer_kit.tuning.loss_terms.loss_term import LossTerm


def batch_spectral_shrinkage(features: torch.Tensor, k: int = 1) -> torch.Tensor:
    """Sum of the squares of the k smallest singular values of a batch's features.

    L = sum over i = 1..k of sigma_{-i}(F)^2 (Chen et al. 2019, "Catastrophic forgetting meets negative transfer").

    Args:
        features: F, of shape (B, D), floating point; half precision is computed in float32.
        k: Number of singular values, at least 1; all of them when there are fewer, as in a short last batch.

    Returns:
        One element >= 0.
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    # In descending order. Not the eigenvalues of F F^T: squared first, the smallest would drown in rounding.
    return torch.linalg.svdvals(features)[-k:].square().sum()


class BSS(LossTerm):
    """Adds ``alpha`` times the k smallest squared singular values of each batch's feature matrix to the loss.

    The feature is what enters the head (its first module with parameters), averaged over positions where it has any;
    where part of the input is padding, that is averaged as well. Fights negative transfer: small singular values stand
    for what does not carry over. Chen et al. 2019. Logged as ``bss_penalty``.

    The term belongs to the rows of one forward, of all processes together. Gradient accumulation averages the terms of
    its parts, which is not the term of all rows together; keep the batch of a forward well above k.

    Args:
        alpha: Strength, >= 0; the paper's 0.001.
        k: How many singular values shrink, >= 1; the paper's 1.
        name: Its name in the logs; needed where a Trainer has several of a kind.

    Raises:
        SettingsError: When a value is out of range (at once), or Trainer does not use the model's loss (before
            training where the arguments show it, else at the first step).
        ModelError: When the model has no head.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[BSS(alpha=0.001)])
        >>> _ = trainer.train()
        >>> "bss_penalty" in trainer.state.log_history[0]
        True
    """

    scalar_name = "bss_penalty"
    of_all_processes = True

    @checked_arguments(own_words_first=True)
    def __init__(self, *, alpha: float = 1e-3, k: int = 1, name: str | None = None) -> None:
        super().__init__(name=name)
        check_strength("BSS", alpha=alpha)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise SettingsError(f"BSS: k={k} is out of range; give a whole number of singular values, at least 1.")
        self.alpha = alpha
        self.k = k

    def watch(self, model: nn.Module) -> FeatureMaps:
        """The input of the head."""
        _, module = head_input(model)
        return FeatureMaps(inputs={"feature": module})

    def term(self, model: nn.Module, maps: Mapping[str, torch.Tensor], inputs: Mapping[str, Any]) -> torch.Tensor:
        """alpha * batch_spectral_shrinkage(feature, k)."""
        feature = maps["feature"]
        rows = all_rows(pooled(feature, channel_axis(model, feature.dim())))
        return self.alpha * batch_spectral_shrinkage(rows, self.k)
