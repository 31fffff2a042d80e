"""What takes part in a contest: a value that says how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_seeds


class ContestRun(Protocol):
    """What a run must say of itself."""

    @property
    def model(self) -> Any:
        """What was trained; None where its weights are gone."""

    @property
    def figures(self) -> Mapping[str, Mapping[str, float]]:
        """Split -> metric -> value."""

    @property
    def seconds(self) -> float:
        """Wall time."""


R = TypeVar("R", bound=ContestRun)


def check_entries(what: str, texts: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuses a comparison that has no candidates or seeds, or one of them twice.

    Args:
        what: The candidates in the plural, such as ``"methods"``.
        texts: Theirs.
        seeds: One run of each a seed.

    Raises:
        SettingsError: With what is wrong.
    """
    if not texts or len(set(texts)) < len(texts):
        raise SettingsError(f"The {what} are {', '.join(texts) or 'none'}: give at least one, and none twice.")
    check_seeds(f"The {what}", seeds)


@dataclass(frozen=True, eq=False)
class Candidate(Generic[R]):
    """One contender; ``train`` and ``rebuild`` may be called in another process, so they hang on what they are given.

    Args:
        text: It stands for all that is trained beside seed and budget.
        train: Seed -> its run.
        rebuild: Seed -> the model before training, for what the store holds are changes.
        options: Plain values that count for the key of its runs as well.
        more: Seed -> fields of the run that no file holds.
        before: Called with a seed in this process before its run is trained or read, for what both need of other runs.
    """

    text: str
    train: Callable[[int], R]
    rebuild: Callable[[int], nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Callable[[int], Mapping[str, Any]] = lambda seed: {}
    before: Callable[[int], object] = lambda seed: None
