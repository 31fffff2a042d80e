"""Direct and indirect attribute prediction: probabilities of attributes, then of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from hf_transfer_kit.options import number
from hf_transfer_kit.zero_shot.methods.method import Standardised, ZeroShotMethod

_LEAST = 1e-6


def class_log_likelihoods(present: Tensor, binary: Tensor, priors: Tensor) -> Tensor:
    """log prod_m p(a_m = a_m^z | x) / p(a_m = a_m^z) of each class z, (M, C) (Lampert et al. 2014, equation 2).

    Args:
        present: p(a_m = 1 | x), (M, A).
        binary: a^z, 0 or 1, (C, A).
        priors: p(a_m = 1), (A,).
    """
    present, priors = present.clamp(_LEAST, 1 - _LEAST), priors.clamp(_LEAST, 1 - _LEAST)
    has, lacks = present.log() - priors.log(), (1 - present).log() - (1 - priors).log()  # (M, A)
    return has @ binary.T + lacks @ (1 - binary).T


class _AttributePrediction(ZeroShotMethod):
    """What both share: attributes above their mean over the seen classes are there, priors are the share of these
    classes that have them (1/2 where all or none do).
    """

    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"c": (0.01, 0.1, 1.0, 10.0)}

    def __init__(self, *, c: float = 1.0) -> None:
        self.c = number(self.name, "c", c, low=0, above=True)

    def _begin(self, features: Tensor, signatures: Tensor) -> tuple[np.ndarray, Tensor]:
        self.standardised = Standardised(features)
        self.threshold = signatures.mean(dim=0)
        binary = self._binary(signatures)
        priors = binary.mean(dim=0)
        self.priors = torch.where((priors == 0) | (priors == 1), torch.full_like(priors, 0.5), priors)
        return self._rows(features), binary

    def _rows(self, features: Tensor) -> np.ndarray:
        # Rows of length 1 are made as long as standardised ones, so that c means the same for any number of features.
        return (self.standardised(features) * features.shape[1] ** 0.5).numpy()

    def _binary(self, signatures: Tensor) -> Tensor:
        return (signatures > self.threshold).to(torch.float64)

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """Log-likelihoods of the classes."""
        return class_log_likelihoods(self.attributes(features), self._binary(signatures), self.priors)

    def attributes(self, features: Tensor) -> Tensor:
        """p(a_m = 1 | x), (M, A)."""
        raise NotImplementedError


class DAP(_AttributePrediction):
    """A logistic regression for each attribute (Lampert et al. 2009 and 2014).

    Args:
        c: Inverse strength of the regressions' penalty, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "dap"
    summary: ClassVar[str] = "each attribute predicted by itself, then the class looked up"

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> DAP:
        """Fits the regressions; an attribute that all seen classes have, or none, is not learned."""
        rows, binary = self._begin(features, signatures)
        of_rows = binary[labels].numpy().astype(int)  # (N, A)
        self.regressions = [
            LogisticRegression(C=self.c, max_iter=2000).fit(rows, column) if np.ptp(column) else None
            for column in of_rows.T
        ]
        return self

    def attributes(self, features: Tensor) -> Tensor:
        """As the regressions say; the prior where there is none."""
        rows = self._rows(features)
        columns = [
            np.full(len(rows), float(prior)) if regression is None else regression.predict_proba(rows)[:, 1]
            for regression, prior in zip(self.regressions, self.priors, strict=True)
        ]
        return torch.from_numpy(np.stack(columns, axis=1))


class IAP(_AttributePrediction):
    """Seen classes predicted first, attributes through them (Lampert et al. 2009 and 2014).

    Args:
        c: Inverse strength of the penalty of the multi-class logistic regression, above 0.

    Raises:
        SettingsError: When it is out of range.
    """

    name: ClassVar[str] = "iap"
    summary: ClassVar[str] = "seen classes predicted, attributes through them, then the class looked up"

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> IAP:
        """Fits the regression."""
        rows, self.binary = self._begin(features, signatures)
        self.regression = LogisticRegression(C=self.c, max_iter=2000).fit(rows, labels.numpy())
        return self

    def attributes(self, features: Tensor) -> Tensor:
        """p(a_m = 1 | x) = sum over seen classes y with a_m^y = 1 of p(y | x)."""
        likely = torch.from_numpy(self.regression.predict_proba(self._rows(features)))
        return likely @ self.binary[torch.from_numpy(self.regression.classes_)]
