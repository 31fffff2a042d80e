"""What methods with a bilinear map share: x^T V s."""

from __future__ import annotations

from torch import Tensor

from hf_transfer_kit.zero_shot.methods.method import ZeroShotMethod, random_map, unit_rows


class Bilinear(ZeroShotMethod):
    """Scores x^T V s, of standardised features x of length 1 and signatures s of length 1; V is the weight (D, A)."""

    def __init__(self, width: int, attributes: int, seen: int) -> None:
        super().__init__(width, attributes, seen)
        self.weight = random_map(width, attributes)

    def scores(self, features: Tensor, signatures: Tensor) -> Tensor:
        """x^T V s."""
        return self.rows(features) @ self.weight @ unit_rows(self.alike(signatures)).T

    def contributions(self, features: Tensor, signatures: Tensor) -> Tensor:
        """(x^T V)_a s_a."""
        return self.rows(features) @ self.weight * unit_rows(self.alike(signatures))
