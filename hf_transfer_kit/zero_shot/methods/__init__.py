"""Methods of zero-shot learning, one idea a file. A new one is a file and a line in ``attribute_methods``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.zero_shot.methods.attribute_methods import SINGLE_METHODS
from hf_transfer_kit.zero_shot.methods.ensemble import Ensemble
from hf_transfer_kit.zero_shot.methods.joint import Joint, JointMix
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod

METHODS: dict[str, type[ZeroShotMethod]] = {**SINGLE_METHODS, Ensemble.name: Ensemble}
"""Methods on attributes, by name."""
JOINT_METHODS: dict[str, type[ZeroShotMethod]] = {method.name: method for method in (Joint, JointMix)}
"""Methods on prompts that a network's own text tower embeds."""
ALL_METHODS = {**METHODS, **JOINT_METHODS}
"""All methods of zero-shot learning, by name."""


def fitted_method(
    method: str,
    options: Mapping[str, Any],
    features: Tensor,
    labels: Tensor,
    signatures: Tensor,
    *,
    balanced: bool = False,
) -> ZeroShotMethod:
    """A method learned from features, all in float64: one standardised copy of them is held.

    Args:
        method: Key of ``METHODS`` or ``JOINT_METHODS``.
        options: Of the method.
        features: (N, D).
        labels: int64 (N,), rows of ``signatures``.
        signatures: (S, A) of the seen classes.
        balanced: Whether rows of small classes are taken several times, so that all classes have as many.

    Raises:
        SettingsError: When an option is out of range, or a ``memory_limit`` too little for that copy.

    Example:
        >>> rows, places = torch.from_numpy(features), torch.from_numpy(labels)
        >>> method = fitted_method("eszsl", {}, rows, places, torch.from_numpy(table.values[:3]))
        >>> method.scores(rows, torch.from_numpy(table.values)).shape
        torch.Size([60, 6])
    """
    if balanced:
        places = torch.from_numpy(balanced_places(labels.numpy(), seed=0))
        features, labels = features[places], labels[places]
    made = ALL_METHODS[method](features.shape[1], signatures.shape[1], len(signatures), **options).double()
    return made.requires_grad_(False).fit(features, labels, signatures)


__all__ = [
    "ALL_METHODS",
    "JOINT_METHODS",
    "METHODS",
    "SINGLE_METHODS",
    "Ensemble",
    "JointMix",
    "ZeroShotMethod",
    "fitted_method",
]
