"""What every method is: learned on seen classes, it scores any class that has a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hf_transfer_kit.features.row_blocks import holding, rows_at_once, slices

_OWN_UNIT = 10.0


class ZeroShotMethod(nn.Module):
    """A head on features: scores of classes from the classes' signatures.

    ``fit`` learns at once from features of all rows, by a closed form or a solver of its own; ``loss`` is what Trainer
    descends, together with the network where it is not frozen. A subclass sets ``name``, ``summary`` and ``tries``,
    takes keyword-only options with defaults, and implements ``fit_rows``, ``loss``, ``scores`` and ``contributions``.

    Args:
        width: Number of features D.
        attributes: Number of attributes A.
        seen: Number of seen classes S.

    Attributes:
        name: Key in ``METHODS``.
        summary: One line for people.
        tries: Option -> values among which ``choose_options`` looks.
        signatures: Of the seen classes, buffer (S, A).
        unit: What each attribute is divided by, after ``origin`` is subtracted, buffers (A,): 1 and 0 but for
            attributes in a unit of their own, which are brought to the span of the others over the seen classes.
        mean: Of each feature over the rows that ``fit`` saw, buffer (D,); 0 before.
        deviation: The same, 1 before.

    Example:
        >>> method = METHODS["eszsl"](width=4, attributes=3, seen=3)
        >>> isinstance(method, ZeroShotMethod)
        True
        >>> rows, places = torch.from_numpy(features), torch.from_numpy(labels)
        >>> _ = method.double().fit(rows, places, torch.from_numpy(table.values[:3]))
        >>> method.scores(rows, torch.from_numpy(table.values)).shape
        torch.Size([60, 6])
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tries: ClassVar[Mapping[str, Sequence[Any]]] = {}

    signatures: Tensor
    unit: Tensor
    origin: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, attributes: int, seen: int) -> None:
        super().__init__()
        self.register_buffer("signatures", torch.zeros(seen, attributes))
        self.register_buffer("unit", torch.ones(attributes))
        self.register_buffer("origin", torch.zeros(attributes))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def begin(self, signatures: Tensor) -> None:
        """Takes the signatures (S, A) of the seen classes, which ``loss`` and ``scores`` need."""
        unit, origin = common_unit(signatures)
        with torch.no_grad():
            self.signatures.copy_(signatures)
            self.unit.copy_(unit)
            self.origin.copy_(origin)

    def fit(self, features: Tensor, labels: Tensor, signatures: Tensor) -> ZeroShotMethod:
        """Learns from rows of seen classes, in float64 whatever the weights' type is; one copy of the rows is made.

        Args:
            features: (N, D).
            labels: int64 (N,), rows of ``signatures``.
            signatures: (S, A) of the seen classes.

        Returns:
            Itself.

        Raises:
            SettingsError: When ``memory_limit`` has no room for that copy.
        """
        with holding(8 * features.numel(), f"a standardised copy of {len(features)} x {features.shape[1]} features"):
            return self._fitted(features, labels, signatures)

    def _fitted(self, features: Tensor, labels: Tensor, signatures: Tensor) -> ZeroShotMethod:
        rows, signatures = features.to(torch.float64, copy=True), signatures.to(torch.float64)
        mean = rows.mean(dim=0)
        rows -= mean
        deviation = torch.linalg.vector_norm(rows, dim=0) / len(rows) ** 0.5
        # A feature that is always the same tells nothing; the first new value of it must not tell everything.
        deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
        self.begin(signatures)
        with torch.no_grad():
            self.mean.copy_(mean)
            self.deviation.copy_(deviation)
            rows /= deviation
            rows /= rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
            self.fit_rows(rows, labels, signatures)
        return self

    def fit_rows(self, rows: Tensor, labels: Tensor, signatures: Tensor) -> None:
        """Writes the weights.

        Args:
            rows: Standardised features of length 1, (N, D), float64; a copy that may be written to.
            labels: int64 (N,).
            signatures: (S, A), float64.
        """
        raise NotImplementedError

    def rows(self, features: Tensor) -> Tensor:
        """Features standardised as at ``fit``, then of length 1, (M, D)."""
        return unit_rows((features - self.mean) / self.deviation)

    def alike(self, signatures: Tensor) -> Tensor:
        """Signatures (C, A) with all attributes in units that make them alike."""
        return (signatures - self.origin.to(signatures)) / self.unit.to(signatures)

    def directions(self, signatures: Tensor) -> Tensor:
        """Signatures as seen from the mean of the seen classes', of length 1, (C, A): what sets classes apart."""
        return unit_rows(self.alike(signatures) - self.alike(self.signatures).mean(dim=0))

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """What Trainer descends, a mean over rows.

        Args:
            features: (N, D), of seen classes.
            labels: int64 (N,), rows of ``self.signatures``.
        """
        raise NotImplementedError

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """How well each class fits each row, (M, C); larger is better.

        Args:
            features: (M, D).
            signatures: (C, A) of any classes.
        """
        raise NotImplementedError

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """What each attribute adds to the score of one class a row, (M, A); their sum is the score.

        Args:
            features: (M, D).
            signatures: (M, A): of the class that is asked about in each row.
        """
        raise NotImplementedError


def common_unit(signatures: Tensor) -> tuple[Tensor, Tensor]:
    """Unit and origin (A,) that bring attributes in a unit of their own to the span of the others.

    Those are attributes whose span, or whose largest value, is more than ten times what is usual among the attributes
    or less than a tenth of it; all others have unit 1 and origin 0, and so have attributes that are the same for all.

    Args:
        signatures: (S, A) of the seen classes.
    """
    unit, origin = torch.ones_like(signatures[0]), torch.zeros_like(signatures[0])
    low, span = signatures.amin(dim=0), signatures.amax(dim=0) - signatures.amin(dim=0)
    varies = span > 0
    if not varies.any():
        return unit, origin
    sizes = signatures.abs().amax(dim=0)
    usual = span[varies].median()
    own = torch.zeros_like(varies)
    for measure, middle in ((span, usual), (sizes, sizes[varies].median())):
        own |= (measure > _OWN_UNIT * middle) | (measure < middle / _OWN_UNIT)
    own &= varies
    return torch.where(own, span / usual, unit), torch.where(own, low, origin)


@torch.no_grad()
def spread_of_scores(method: ZeroShotMethod, features: Tensor, signatures: Tensor) -> float:
    """Standard deviation of all scores that ``method`` gives the rows, in blocks.

    Args:
        method: Learned.
        features: (N, D).
        signatures: (C, A), whose type the features take.
    """
    size = rows_at_once(8 * (4 * features.shape[1] + 3 * len(signatures)), what="the spread of scores")
    count, mean, squares = 0, 0.0, 0.0
    for place in slices(len(features), size):
        scores = method.scores(features[place].to(signatures), signatures)
        own, both = float(scores.mean()), count + scores.numel()
        squares += float((scores - own).square().sum()) + (own - mean) ** 2 * count * scores.numel() / both
        mean += (own - mean) * scores.numel() / both
        count = both
    return (squares / max(count - 1, 1)) ** 0.5


def unit_rows(matrix: Tensor) -> Tensor:
    """Rows of length 1; those of zeros stay."""
    return matrix / matrix.norm(dim=1, keepdim=True).clamp(min=1e-12)


def random_map(*shape: int) -> nn.Parameter:
    """A small random matrix for Trainer to begin with."""
    return nn.Parameter(torch.randn(*shape) / shape[0] ** 0.5)
