"""Measured cases: what each strategy reached, for sources on targets with few rows to all. They stand behind advice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import Any

import numpy as np

from hf_transfer_kit.selection.advice.paired_rows import paired_shares
from hf_transfer_kit.values import CaseMeasures

BASE = "full"
"""What strategies are compared with: fine-tuning everything."""


@dataclass(frozen=True)
class Case:
    """One cell of the grid.

    Args:
        source: Name of the pretrained network.
        target: Name of the dataset.
        family: Datasets that share rows or classes have one; a test leaves all of a family out.
        measures: What was measured before training, mean over the seeds.
        accuracy: Strategy -> test accuracy of each seed.
        validated: Strategy -> of each seed's run which of its validation rows it got right, as text of 0 and 1; empty
            where that is not known.
        early: Strategy -> share of these rows that each seed's run got right after two thirds of its steps; likewise.
    """

    source: str
    target: str
    family: str
    measures: CaseMeasures
    accuracy: Mapping[str, tuple[float, ...]]
    validated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    early: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def mean(self, strategy: str) -> float:
        """Mean test accuracy over the seeds."""
        return fmean(self.accuracy[strategy])

    def early_shares(self, strategies: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """What short runs of these strategies might have given with the seed of this place, as ``paired_shares`` does.

        The shares are those after two thirds of the steps; how rows hang together is told by the marks at the end.
        """
        marks = np.array([[mark == "1" for mark in self.validated[name][seed]] for name in strategies])
        _, covariance = paired_shares(marks)
        return np.array([self.early[name][seed] for name in strategies]), covariance

    @property
    def best(self) -> str:
        """The strategy with the highest mean."""
        return max(self.accuracy, key=self.mean)

    def regret(self, strategy: str) -> float:
        """What is lost by a strategy against the best, in [0, 1]."""
        return self.mean(self.best) - self.mean(strategy)


@dataclass(frozen=True)
class Settings:
    """What is fitted to cases.

    Args:
        strength: Of the ridge regression on cases.
        many_rows: Rows a class from which data counts as large.
        similar_gain: Gain over random weights from which a source counts as similar.
        trial_error: Standard deviation of a short run's accuracy around what its strategy reaches in full, validation
            rows aside; None where cases do not tell.
    """

    strength: float
    many_rows: float
    similar_gain: float
    trial_error: float | None = None


@dataclass(frozen=True)
class Experience:
    """Cases and what was fitted to them.

    Args:
        cases: All of them.
        settings: Fitted.
        command: What made them.
        evaluation: How advice did on families of datasets that were left out.
    """

    cases: tuple[Case, ...]
    settings: Settings
    command: str
    evaluation: Mapping[str, Any]

    def to_json(self) -> dict[str, object]:
        """Plain data for a file."""
        return {
            "command": self.command,
            "settings": vars(self.settings),
            "evaluation": dict(self.evaluation),
            "cases": [
                {
                    **vars(case),
                    "measures": vars(case.measures),
                    "accuracy": dict(case.accuracy),
                    "validated": dict(case.validated),
                    "early": dict(case.early),
                }
                for case in self.cases
            ],
        }


@cache
def measured_experience() -> Experience:
    """The grid that comes with the package; ``scripts/benchmarks/advisor_fit.py`` makes it.

    Example:
        >>> experience = measured_experience()
        >>> len(experience.cases)
        23
    """
    return experience_from(json.loads((files(__package__) / "cases.json").read_text()))


def experience_from(values: Mapping[str, Any]) -> Experience:
    """What ``Experience.to_json`` wrote.

    Example:
        >>> experience = measured_experience()
        >>> experience_from(experience.to_json()) == experience
        True
    """
    return Experience(
        tuple(_case(case) for case in values["cases"]),
        Settings(**values["settings"]),
        values["command"],
        values["evaluation"],
    )


def _case(values: Mapping[str, Any]) -> Case:
    runs = {
        name: {strategy: tuple(found) for strategy, found in values.get(name, {}).items()}
        for name in ("accuracy", "validated", "early")
    }
    measures = CaseMeasures(**{**values["measures"], "suspected": ()})  # of rows that nobody has here
    return Case(**{**values, "measures": measures, **runs})


def evaluated(experience: Experience, *, trials: bool) -> Mapping[str, Any]:
    """``within_a_point`` and ``mean_regret`` of the experience's advice, alone or with trials, where that is known."""
    return experience.evaluation.get("trials") or {} if trials else experience.evaluation


def strategies_of(cases: Sequence[Case]) -> tuple[str, ...]:
    """The strategies that every case has."""
    return tuple(name for name in cases[0].accuracy if all(name in case.accuracy for case in cases))
