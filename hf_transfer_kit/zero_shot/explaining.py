"""Why one class and not another: what each attribute said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_transfer_kit.errors import DataError
from hf_transfer_kit.zero_shot.methods import ZeroShotMethod
from hf_transfer_kit.zero_shot.table import AttributeTable


@dataclass(frozen=True)
class Voice:
    """What one attribute said.

    Args:
        attribute: Its name.
        value: The class's value in the table.
        other: The other class's.
        contribution: To the difference of the scores; above 0 speaks for the class.
    """

    attribute: str
    value: float
    other: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """What spoke for a class and what against it.

    Args:
        name: The class.
        against: The class that it is compared with.
        score: Of the class, without gamma.
        against_score: Of the other.
        voices: All attributes, from the strongest for to the strongest against.
    """

    name: str
    against: str
    score: float
    against_score: float
    voices: tuple[Voice, ...]

    def spoke_for(self, count: int = 5) -> tuple[Voice, ...]:
        """The strongest attributes for it, at most ``count``."""
        return tuple(voice for voice in self.voices[:count] if voice.contribution > 0)

    def spoke_against(self, count: int = 5) -> tuple[Voice, ...]:
        """The strongest attributes against it, at most ``count``."""
        return tuple(voice for voice in self.voices[::-1][:count] if voice.contribution < 0)

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(f'{v.attribute} ({v.contribution:+.2g})' for v in voices)}"
            for word, voices in (("for", self.spoke_for()), ("against", self.spoke_against()))
            if voices
        ]
        return f"{self.name} rather than {self.against}: {'; '.join(parts) or 'no attribute differs'}"


def explained(
    method: ZeroShotMethod,
    features: Tensor,
    scores: Tensor,
    table: AttributeTable,
    classes: Sequence[str] | None,
    against: Sequence[str] | None,
) -> list[Explanation]:
    """Explanations of rows.

    Args:
        method: Learned.
        features: (N, D).
        scores: Of all classes of the table, (N, C), calibrated or not.
        table: The classes.
        classes: One a row; None: those with the best score.
        against: One a row; None: those with the best score beside them.

    Raises:
        DataError: When a class has no row, their number differs, or there is no other.
    """
    if len(table) < 2:
        raise DataError("There is a single class, so nothing to compare it with. Add another with set_classes.")
    for given in (classes, against):
        if given is not None and (isinstance(given, str) or len(given) != len(features)):
            raise DataError(f"Give a list with a class for each of the {len(features)} rows, not {given!r}.")
    place = {name: index for index, name in enumerate(table.classes)}
    table.rows(list({*(classes or ()), *(against or ())}))  # refuses classes without a row
    chosen = scores.argmax(dim=1) if classes is None else torch.tensor([place[name] for name in classes])
    chosen = chosen.to(scores.device)
    if against is None:
        other = scores.scatter(1, chosen[:, None], -torch.inf).argmax(dim=1)
    else:
        other = torch.tensor([place[name] for name in against], device=scores.device)
    values = torch.from_numpy(table.values).to(features)
    parts = [method.contributions(features, values[which]) for which in (chosen, other)]  # (N, A) each
    found = []
    for row, (mine, its) in enumerate(zip(chosen.tolist(), other.tolist(), strict=True)):
        difference = (parts[0][row] - parts[1][row]).tolist()
        order = sorted(range(len(difference)), key=lambda index: -difference[index])
        found.append(
            Explanation(
                name=table.classes[mine],
                against=table.classes[its],
                score=float(parts[0][row].sum()),
                against_score=float(parts[1][row].sum()),
                voices=tuple(
                    Voice(table.attributes[i], table.values[mine, i], table.values[its, i], difference[i])
                    for i in order
                ),
            )
        )
    return found
