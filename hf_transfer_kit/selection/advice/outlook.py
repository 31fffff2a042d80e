"""What strategies may be expected to reach in a case: a linear model of what they reached in the measured cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_transfer_kit.selection.advice.cases import BASE, Case, strategies_of
from hf_transfer_kit.values import CaseMeasures, StrategyOutlook

_DRAWS = 4_000


def place(measures: CaseMeasures) -> np.ndarray:
    """Where a case lies: decades of rows a class, how much of the classes features and random features know, and texts.

    Whether it is a text (1 or 0) counts because rates and numbers of steps are others there.

    Returns:
        Of shape (4,).
    """
    return np.array(
        [
            math.log10(measures.rows_per_class),
            measures.known,
            measures.known_by_random,
            float(measures.modality == "text"),
        ]
    )


@dataclass(frozen=True, eq=False)
class Expectation:
    """What is known of all strategies in one case, as normally distributed numbers that hang together.

    Args:
        strategies: Their texts.
        mean: Expected test accuracy less that of fine-tuning everything, of shape (S,).
        covariance: Of that for a single case, of shape (S, S); zero for fine-tuning everything itself.
    """

    strategies: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray

    def outlook(self) -> tuple[StrategyOutlook, ...]:
        """Each strategy with its standard error, best first."""
        errors = np.sqrt(np.maximum(np.diag(self.covariance), 0))  # rounding may leave less
        found = map(StrategyOutlook, self.strategies, self.mean.tolist(), errors.tolist())
        return tuple(sorted(found, key=lambda entry: -entry.difference))

    def among(self, strategies: Sequence[str]) -> Expectation:
        """The same of some of the strategies."""
        kept = [index for index, name in enumerate(self.strategies) if name in strategies]
        names = tuple(self.strategies[index] for index in kept)
        return Expectation(names, self.mean[kept], self.covariance[np.ix_(kept, kept)])

    def likeliest(self, count: int) -> tuple[str, ...]:
        """So many strategies, the likeliest to be the best first: by draws, then by what is expected."""
        draws = np.random.default_rng(0).multivariate_normal(self.mean, self.covariance, _DRAWS, method="eigh")
        wins = np.bincount(draws.argmax(1), minlength=len(self.mean))
        order = np.lexsort((-self.mean, -wins))
        return tuple(self.strategies[index] for index in order[:count])


def expectation(measures: CaseMeasures, cases: Sequence[Case], strength: float) -> Expectation:
    """Expected accuracy of each strategy less that of fine-tuning everything: ridge regression on the places of cases.

    The covariance is that of a single case: how cases scatter around the regression, which has as many parameters as
    the ridge leaves it, widened by how far the case lies from their middle (Hoerl & Kennard 1970; Bishop 2006, equation
    3.59; Hastie et al. 2009, equation 3.50).

    Args:
        measures: Of the case asked about.
        cases: Measured ones.
        strength: Of the ridge, above 0, on places of unit variance; one case weighs 1.
    """
    places = np.array([place(case.measures) for case in cases])  # (N, 4)
    mean, spread = places.mean(0), places.std(0)
    spread = np.where(spread > 1e-9, spread, 1)
    design = (places - mean) / spread
    asked = (place(measures) - mean) / spread
    inverse = np.linalg.inv(design.T @ design + strength * np.eye(design.shape[1]))
    distance = 1 / len(cases) + asked @ inverse @ asked
    strategies = strategies_of(cases)
    differences = np.array([[case.mean(name) - case.mean(BASE) for name in strategies] for case in cases])  # (N, S)
    middle = differences.mean(0)
    slopes = inverse @ design.T @ (differences - middle)  # (4, S)
    residuals = differences - middle - design @ slopes
    parameters = 1 + np.trace(design @ inverse @ design.T)
    scatter = residuals.T @ residuals / max(len(cases) - parameters, 1)
    return Expectation(strategies, middle + asked @ slopes, scatter * (1 + distance))


def outlook(measures: CaseMeasures, cases: Sequence[Case], strength: float) -> tuple[StrategyOutlook, ...]:
    """``expectation`` of each strategy, best first.

    Example:
        >>> cases = measured_experience().cases
        >>> best = outlook(cases[0].measures, cases, strength=1.0)[0]
        >>> best.strategy
        'lora'
    """
    return expectation(measures, cases, strength).outlook()


def by_nearness(measures: CaseMeasures, cases: Sequence[Case]) -> list[tuple[float, Case]]:
    """Distance and case, nearest first; places have unit variance over the cases."""
    places = np.array([place(case.measures) for case in cases])
    spread = places.std(0)
    distances = np.linalg.norm((places - place(measures)) / np.where(spread > 1e-9, spread, 1), axis=1)
    return [(float(distances[index]), cases[index]) for index in np.argsort(distances, kind="stable")]
