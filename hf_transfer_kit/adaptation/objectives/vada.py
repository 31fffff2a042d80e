"""VADA: domain-adversarial training, and decision boundaries that keep away from target rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from hf_transfer_kit.adaptation.objectives.dann import DANN
from hf_transfer_kit.adaptation.objectives.entropy import conditional_entropy
from hf_transfer_kit.adaptation.objectives.input_perturbation import continuous_input, offered
from hf_transfer_kit.adaptation.objectives.objective import DomainBatch
from hf_transfer_kit.adaptation.objectives.virtual_adversary import virtual_adversarial_loss
from hf_transfer_kit.options import check_int, check_number


class VADA(DANN):
    """Virtual adversarial domain adaptation (Shu et al. 2018), its target part: DANN, entropy, virtual adversary.

    The paper asks smoothness of source rows as well; labels do that work here. Each step runs the target through the
    network ``iterations + 1`` more times. Needs real-valued inputs (images, waves); not under torch.compile with
    ``fullgraph=True``, because the adversary takes a gradient inside the forward.

    Args:
        width: D, number of features.
        num_labels: C, number of classes.
        hidden: Hidden layers of the domain head.
        dropout: In the domain head, in [0, 1).
        weight: Of the domain loss, >= 0; the paper's 0.01.
        entropy_weight: Of the target's mean entropy, >= 0; the paper's 0.01.
        smooth_weight: Of the virtual adversarial loss on the target, >= 0; the paper's 0.01.
        radius: Length of the adversarial change of a row, above 0; the paper's 3.5 for pixels in [-1, 1].
        iterations: Of the power method, at least 1.

    Raises:
        SettingsError: When an option is out of range.
        ModelError: At the first step, when inputs hold no real numbers.
    """

    name: ClassVar[str] = "vada"
    runs_backward: ClassVar[bool] = True
    summary: ClassVar[str] = "DANN, low entropy, and predictions smooth around target rows"

    def __init__(
        self,
        *,
        width: int,
        num_labels: int,
        hidden: Sequence[int] = (100,),
        dropout: float = 0.0,
        weight: float = 0.01,
        entropy_weight: float = 0.01,
        smooth_weight: float = 0.01,
        radius: float = 3.5,
        iterations: int = 1,
    ) -> None:
        super().__init__(width=width, num_labels=num_labels, hidden=hidden, dropout=dropout, weight=weight)
        self.entropy_weight = check_number(self.name, "entropy_weight", entropy_weight, low=0)
        self.smooth_weight = check_number(self.name, "smooth_weight", smooth_weight, low=0)
        self.radius = check_number(self.name, "radius", radius, low=0, above=True)
        self.iterations = check_int(self.name, "iterations", iterations, low=1)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """``domain_loss``, ``target_entropy_loss`` and ``smooth_loss``."""
        name = continuous_input(batch, self.name)
        inputs, extract = offered(batch, self.name, "target")
        rest = {key: values for key, values in inputs.items() if key != name}
        smooth = virtual_adversarial_loss(
            lambda moved: batch.classify(extract(**{name: moved}, **rest)),
            inputs[name],
            batch.target_logits,
            radius=self.radius,
            iterations=self.iterations,
        )
        return {
            **super().compute_terms(batch),
            "target_entropy_loss": self.entropy_weight * conditional_entropy(batch.target_logits),
            "smooth_loss": self.smooth_weight * smooth,
        }
