"""Several methods' scores averaged, so that none has to be chosen among a handful of seen classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.zero_shot.methods.attribute_methods import SINGLE_METHODS
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, spread_of_scores


class Ensemble(ZeroShotMethod):
    """The mean of the members' scores, each divided by its spread over seen classes on the rows that ``fit`` saw.

    Seven or ten seen classes that play the unseen ones hardly tell which of two methods is better; their mean needs no
    such choice (Dietterich 2000).

    Args:
        members: Of ``SINGLE_METHODS``, two or more.
        member_options: Member -> its keyword arguments.

    Raises:
        SettingsError: When a member is unknown, named twice, or alone.

    Example:
        >>> method = Ensemble(width=4, attributes=3, seen=3, members=("eszsl", "prototype"))
        >>> sorted(method.parts)
        ['eszsl', 'prototype']
    """

    name: ClassVar[str] = "ensemble"
    summary: ClassVar[str] = "the mean of several methods' scores, each in units of its spread"
    usual_members: ClassVar[tuple[str, ...]] = ("eszsl", "sae", "ale", "devise", "prototype")
    spreads: Tensor

    def __init__(
        self,
        width: int,
        attributes: int,
        seen: int,
        *,
        members: Sequence[str] = usual_members,
        member_options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(width, attributes, seen)
        for member in members:
            check_choice(self.name, "members", member, tuple(SINGLE_METHODS))
        if len(set(members)) < max(2, len(members)):
            raise SettingsError(f"ensemble: members={', '.join(members)}: give two or more, none of them twice.")
        options = member_options or {}
        self.parts = nn.ModuleDict(
            {member: SINGLE_METHODS[member](width, attributes, seen, **options.get(member, {})) for member in members}
        )
        self.register_buffer("spreads", torch.ones(len(members)))

    @property
    def members(self) -> list[ZeroShotMethod]:
        """In their order."""
        return list(self.parts.values())  # type: ignore[arg-type]

    def begin(self, signatures: Tensor) -> None:
        """Takes the signatures (S, A) of the seen classes, for all."""
        super().begin(signatures)
        for member in self.members:
            member.begin(signatures)

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> ZeroShotMethod:
        """Learns every member, and its spread from the rows."""
        super().fit(features, labels, signatures)
        for place, member in enumerate(self.members):
            member.fit(features, labels, signatures)
            spread = spread_of_scores(member, features, member.signatures)
            with torch.no_grad():
                self.spreads[place] = max(spread, 1e-12)
        return self

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Each member learns for itself."""

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """The mean over members of s / std(s)."""
        return self._mean([member.scores(features, signatures) for member in self.members])

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """The mean of the members', each divided by its spread."""
        return self._mean([member.contributions(features, signatures) for member in self.members])

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean of the members' losses."""
        return torch.stack([member.loss(features, labels) for member in self.members]).mean()

    def _mean(self, found: Sequence[Tensor]) -> Tensor:
        return torch.stack([one / spread for one, spread in zip(found, self.spreads, strict=True)]).mean(dim=0)
