"""Classes by prompts in the space that a network shares with texts, alone and together with attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.zero_shot.methods.attribute_methods import SINGLE_METHODS
from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, spread_of_scores, unit_rows


class Joint(ZeroShotMethod):
    """The joint network's own zero-shot classifier: features of length 1 times signatures (Radford et al. 2021, ICML).

    Signatures are rows of ``prompted_classes``, which bear the network's scale, so scores are its logits. Nothing is
    learned from features; Trainer descends the cross entropy among the seen classes.

    Raises:
        SettingsError: When signatures are not as wide as features: they are not of the network's own text tower.
    """

    name: ClassVar[str] = "joint"
    summary: ClassVar[str] = "the network's own text tower on prompts with the classes' names; nothing is learned"

    def __init__(self, width: int, attributes: int, seen: int) -> None:
        super().__init__(width, attributes, seen)
        if width != attributes:
            raise SettingsError(
                f"joint compares the network's {width} features with {attributes} attributes, which must be as many: "
                "embeddings of prompts by its own text tower. Describe the classes with prompted_classes."
            )

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Nothing is learned."""

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """x^T s, of features x of length 1."""
        return unit_rows(features) @ signatures.T

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """x_d s_d."""
        return unit_rows(features) * signatures

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy among the seen classes."""
        return functional.cross_entropy(self.scores(features, self.signatures), labels)


class JointMix(ZeroShotMethod):
    """Scores of ``joint`` and of a method on attributes, each divided by its spread, mixed.

    weight a / std(a) + (1 - weight) b / std(b), with a and b the scores of seen classes on the rows that ``fit`` saw.
    The spreads stand for a temperature of each side; a further one would be the weight again. Signatures have the
    values of ``prompted_classes`` first, as many as features, then the attributes: ``AttributeTable.beside``.

    Args:
        partner: The method on attributes, of ``SINGLE_METHODS``.
        partner_options: Its keyword arguments.
        weight: Of the prompts, in [0, 1].

    Raises:
        SettingsError: When an option is out of range, or there are no attributes beside the embeddings.

    Example:
        >>> method = JointMix(width=4, attributes=7, seen=3, partner="eszsl", weight=0.25)
        >>> method.name, method.weight
        ('joint_mix', 0.25)
    """

    name: ClassVar[str] = "joint_mix"
    summary: ClassVar[str] = "the text tower's scores mixed with those of a method on attributes"
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {"weight": (0.0, 0.25, 0.5, 0.75, 1.0)}
    spreads: Tensor

    usual_partner: ClassVar[str] = "eszsl"

    def __init__(
        self,
        width: int,
        attributes: int,
        seen: int,
        *,
        partner: str = usual_partner,
        partner_options: Mapping[str, Any] | None = None,
        weight: float = 0.5,
    ) -> None:
        super().__init__(width, attributes, seen)
        check_choice(self.name, "partner", partner, tuple(SINGLE_METHODS))
        self.weight = check_number(self.name, "weight", weight, low=0, high=1)
        if attributes <= width:
            raise SettingsError(
                f"joint_mix has {attributes} values a class for a network of {width} features: give embeddings of "
                "prompts, as many as features, and attributes after them, by AttributeTable.beside."
            )
        self.joint = Joint(width, width, seen)
        self.partner = SINGLE_METHODS[partner](width, attributes - width, seen, **(partner_options or {}))
        self.register_buffer("spreads", torch.ones(2))

    def begin(self, signatures: Tensor) -> None:
        """Takes the signatures (S, D + A) of the seen classes, for both."""
        super().begin(signatures)
        for method, own in zip((self.joint, self.partner), self._parts(signatures), strict=True):
            method.begin(own)

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> ZeroShotMethod:
        """Learns the partner, and the spread of both from the rows."""
        signatures = signatures.to(torch.float64)
        super().fit(features, labels, signatures)
        prompts, attributes = self._parts(signatures)
        self.joint.fit(features, labels, prompts)
        self.partner.fit(features, labels, attributes)
        sides = (self.joint, prompts), (self.partner, attributes.to(self.partner.mean))
        spreads = [max(spread_of_scores(method, features, own), 1e-12) for method, own in sides]
        with torch.no_grad():
            self.spreads.copy_(torch.tensor(spreads, dtype=torch.float64))
        return self

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Both sides learn for themselves."""

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """weight a / std(a) + (1 - weight) b / std(b)."""
        prompts, attributes = self._parts(signatures)
        first, second = self._weights(features)
        return first * self.joint.scores(features, prompts) + second * self.partner.scores(features, attributes)

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """Of the prompts' dimensions, then of the attributes."""
        prompts, attributes = self._parts(signatures)
        first, second = self._weights(features)
        return torch.cat(
            [
                first * self.joint.contributions(features, prompts),
                second * self.partner.contributions(features, attributes),
            ],
            dim=1,
        )

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The mean of both losses by the weight."""
        return self.weight * self.joint.loss(features, labels) + (1 - self.weight) * self.partner.loss(features, labels)

    def _parts(self, signatures: Tensor) -> tuple[Tensor, Tensor]:
        width = len(self.mean)
        return signatures[:, :width], signatures[:, width:]

    def _weights(self, features: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.spreads.to(features)
        return self.weight / first, (1 - self.weight) / second
