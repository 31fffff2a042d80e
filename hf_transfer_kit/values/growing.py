"""What a network that learned further classes still knows of those that it came with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Growing:
    """Accuracies of a classifier whose own classes were kept while new ones were learned, on test rows, in [0, 1].

    Args:
        old_classes: Names of the classes that it came with.
        new_classes: Names of those that it learned beside them.
        kept_by: What was done to keep the old ones, for people; empty where nothing was.
        replayed: Old class -> its rows that were mixed into training; empty without replay.
        old_rows: Test rows of old classes; 0 where none were at hand.
        new_rows: Test rows of new classes.
        before: Of the network as it came, on rows of old classes, among these alone; None without such rows.
        after: Of the trained network on the same rows, among all classes; None without such rows.
        forgetting: ``before`` minus ``after``, in [-1, 1]; None without such rows.
        new: Of the trained network on rows of new classes, among all classes; None without such rows.
        overall: Of the trained network on all rows, among all classes.
    """

    old_classes: tuple[str, ...]
    new_classes: tuple[str, ...]
    kept_by: tuple[str, ...]
    overall: float
    new: float | None
    before: float | None = None
    after: float | None = None
    forgetting: float | None = None
    old_rows: int = 0
    new_rows: int = 0
    replayed: Mapping[str, int] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The same for people."""
        new = "" if self.new is None else f"New classes are named rightly in {100 * self.new:.1f} % of their rows. "
        if self.forgetting is None or self.before is None or self.after is None:
            return f"{new}Forgetting was not measured: no test row of an old class was at hand."
        lost = f"{abs(100 * self.forgetting):.1f} points"
        change = f"{lost} lost" if self.forgetting > 0 else f"{lost} gained" if self.forgetting < 0 else "nothing lost"
        return (
            f"{new}Old classes: {100 * self.before:.1f} % before, among {len(self.old_classes)}, "
            f"{100 * self.after:.1f} % now, among all {len(self.old_classes) + len(self.new_classes)}: {change}."
        )
