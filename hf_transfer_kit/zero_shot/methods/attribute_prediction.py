"""Direct and indirect attribute prediction: probabilities of attributes, then of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_transfer_kit.options import check_number
from hf_transfer_kit.zero_shot.methods.logistic import fit_logistic
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, random_map

_LEAST = 1e-6


def attribute_log_ratios(present: Tensor, priors: Tensor) -> tuple[Tensor, Tensor]:
    """log p(a_m = 1 | x) / p(a_m = 1), and the same of a_m = 0, both (M, A)."""
    present, priors = present.clamp(_LEAST, 1 - _LEAST), priors.clamp(_LEAST, 1 - _LEAST)
    return present.log() - priors.log(), (1 - present).log() - (1 - priors).log()


def class_log_likelihoods(present: Tensor, binary: Tensor, priors: Tensor) -> Tensor:
    """log prod_m p(a_m = a_m^z | x) / p(a_m = a_m^z) of each class z, (M, C) (Lampert et al. 2014, equation 2).

    Args:
        present: p(a_m = 1 | x), (M, A).
        binary: a^z, 0 or 1, (C, A).
        priors: p(a_m = 1), (A,).
    """
    has, lacks = attribute_log_ratios(present, priors)
    return has @ binary.T + lacks @ (1 - binary).T


class _AttributePrediction(ZeroShotMethod):
    """What both share: attributes above their mean over the seen classes are there, priors are the share of these
    classes that have them (1/2 where all or none do).
    """

    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"c": (0.0001, 0.001, 0.01, 0.1)}

    def __init__(self, width: int, attributes: int, seen: int, *, c: float = 0.01) -> None:
        super().__init__(width, attributes, seen)
        self.c = check_number(self.name, "c", c, low=0, above=True)

    def rows(self, features: Tensor) -> Tensor:
        """As long as standardised rows are, so that c means the same for any number of features."""
        return super().rows(features) * features.shape[1] ** 0.5

    def binary(self, signatures: Tensor) -> Tensor:
        """Whether classes have the attributes, 1.0 or 0.0, (C, A)."""
        return (signatures > self.signatures.mean(dim=0)).to(signatures)

    @property
    def priors(self) -> Tensor:
        """p(a_m = 1), (A,)."""
        share = self.binary(self.signatures).mean(dim=0)
        return torch.where((share == 0) | (share == 1), torch.full_like(share, 0.5), share)

    def attributes(self, features: Tensor) -> Tensor:
        """p(a_m = 1 | x), (M, A)."""
        raise NotImplementedError

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """Log-likelihoods of the classes."""
        return class_log_likelihoods(self.attributes(features), self.binary(signatures), self.priors)

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """Each attribute's logarithm."""
        has, lacks = attribute_log_ratios(self.attributes(features), self.priors)
        return torch.where(self.binary(signatures) > 0, has, lacks)


class DAP(_AttributePrediction):
    """Each attribute predicted from the features (Lampert et al. 2009, CVPR; 2014, TPAMI).

    Trainer descends the mean binary cross entropy of the attributes.

    Args:
        c: Inverse strength of the penalty of the logistic regressions, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "dap"
    summary: ClassVar[str] = "each attribute predicted by itself, then the class looked up"

    def __init__(self, width: int, attributes: int, seen: int, *, c: float = 0.01) -> None:
        super().__init__(width, attributes, seen, c=c)
        self.weight, self.bias = random_map(attributes, width), nn.Parameter(torch.zeros(attributes))
        with torch.no_grad():
            self.weight.div_(width)  # rows are long here

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Fits the regressions; an attribute that all seen classes have, or none, is not learned."""
        rows *= rows.shape[1] ** 0.5
        binary = (signatures > signatures.mean(dim=0)).to(torch.float64)
        learned = (binary.amax(dim=0) != binary.amin(dim=0)).nonzero()[:, 0]
        self.weight.zero_()
        self.bias.zero_()
        if len(learned):
            weight, bias = fit_logistic(rows, labels, c=self.c, answers=binary[:, learned])
            self.weight[learned], self.bias[learned] = weight.to(self.weight), bias.to(self.bias)

    def _logits(self, features: Tensor) -> Tensor:
        return self.rows(features) @ self.weight.T + self.bias

    def attributes(self, features: Tensor) -> Tensor:
        """As the regressions say; 1/2, which says nothing, where there is none."""
        return self._logits(features).sigmoid()

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Mean binary cross entropy over rows and attributes."""
        return functional.binary_cross_entropy_with_logits(self._logits(features), self.binary(self.signatures)[labels])


class IAP(_AttributePrediction):
    """Seen classes predicted first, attributes through them (Lampert et al. 2009 and 2014).

    Trainer descends the cross entropy of the seen classes.

    Args:
        c: Inverse strength of the penalty of the multi-class logistic regression, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "iap"
    summary: ClassVar[str] = "seen classes predicted, attributes through them, then the class looked up"

    def __init__(self, width: int, attributes: int, seen: int, *, c: float = 0.01) -> None:
        super().__init__(width, attributes, seen, c=c)
        self.weight, self.bias = random_map(seen, width), nn.Parameter(torch.zeros(seen))
        with torch.no_grad():
            self.weight.div_(width)

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Fits the regression; a class without rows is never predicted."""
        rows *= rows.shape[1] ** 0.5
        weight, bias = fit_logistic(rows, labels, c=self.c)
        self.weight.zero_()
        self.bias.zero_()
        self.weight[: len(weight)], self.bias[: len(bias)] = weight.to(self.weight), bias.to(self.bias)
        present = torch.bincount(labels, minlength=len(self.bias)) > 0
        self.bias[~present] = -1e4

    def _logits(self, features: Tensor) -> Tensor:
        return self.rows(features) @ self.weight.T + self.bias

    def attributes(self, features: Tensor) -> Tensor:
        """p(a_m = 1 | x) = sum over seen classes y with a_m^y = 1 of p(y | x)."""
        return self._logits(features).softmax(dim=1) @ self.binary(self.signatures)

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of the seen classes."""
        return functional.cross_entropy(self._logits(features), labels)
