"""What is worth watching in every method: how sure predictions are, how diverse, and whether features live."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hf_transfer_kit.adaptation.objectives.entropy_of_rows import row_entropy


@torch.no_grad()
def prediction_statistics(
    source_features: Tensor, target_features: Tensor, source_logits: Tensor, target_logits: Tensor
) -> dict[str, Tensor]:
    """Values of one step, without gradient.

    Args:
        source_features: (S, D).
        target_features: (T, D).
        source_logits: (S, C).
        target_logits: (T, C).

    Returns:
        ``source_entropy``, ``target_entropy``: mean entropy of predictions over log C, in [0, 1];
        ``target_diversity``: entropy of the mean prediction over its largest value with so many rows, in [0, 1];
        ``source_feature_norm``, ``target_feature_norm``: root mean square length of a row;
        ``feature_spread``: deviation of target rows from their mean over their length, in [0, 1], 0 when all are one.
    """
    source, target = source_logits.softmax(-1), target_logits.softmax(-1)
    rows, classes = target.shape
    lengths = [features.float().square().sum(1).mean() for features in (source_features, target_features)]
    centre = target_features.float().mean(0).square().sum()
    return {
        "source_entropy": row_entropy(source).mean() / math.log(max(classes, 2)),
        "target_entropy": row_entropy(target).mean() / math.log(max(classes, 2)),
        # Few rows that are sure cannot name more classes than they are; unsure ones reach beyond.
        "target_diversity": (row_entropy(target.mean(0)) / math.log(max(min(rows, classes), 2))).clamp(max=1),
        "source_feature_norm": lengths[0].sqrt(),
        "target_feature_norm": lengths[1].sqrt(),
        "feature_spread": (1 - centre / lengths[1].clamp_min(1e-20)).clamp(0, 1).sqrt(),
    }
