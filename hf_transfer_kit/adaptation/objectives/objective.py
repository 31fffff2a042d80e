"""What a method of adaptation is: terms of a loss on the features and logits of two domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.adaptation.objectives.prediction_statistics import prediction_statistics
from hf_transfer_kit.backbones.precision import HALF, called_in_float32, in_float32, without_autocast
from hf_transfer_kit.tuning.all_rows import all_rows, number_of_processes


@dataclass(frozen=True)
class DomainBatch:
    """One step's view of both domains, with gradients; ``S`` source and ``T`` target rows, ``C`` classes.

    No field carries labels of the target.
    """

    source_features: Tensor
    """Pooled features of the source rows, (S, D)."""
    target_features: Tensor
    """Pooled features of the target rows, (T, D)."""
    source_logits: Tensor
    """The label head on the source rows, (S, C)."""
    target_logits: Tensor
    """The label head on the target rows, (T, C)."""
    labels: Tensor
    """Classes of the source rows, int64 of shape (S,)."""
    progress: Tensor | float
    """How far training is, in [0, 1]; inside a model a 0-dim tensor."""
    strength: Tensor
    """Lambda of adversarial methods, 0-dim: a tensor, so that its schedule does not recompile the step."""
    classify: Callable[[Tensor], Tensor]
    """The label head: features (N, D) -> logits (N, C)."""
    extract: Callable[..., Tensor] | None = None
    """The backbone on rows once more: the model's inputs by name (without the prefix ``target_``) as keywords ->
    pooled features (N, D). None where a step has none to offer."""
    source_inputs: Mapping[str, Tensor] | None = None
    """The source rows themselves, by the model's own names, without labels, for methods that look at them again through
    ``extract``. None where ``extract`` is."""
    target_inputs: Mapping[str, Tensor] | None = None
    """The target rows themselves, likewise."""
    source_weights: Tensor | None = None
    """How much each source row counts where methods weigh them, (S,); None: all alike."""
    row_numbers: Tensor | None = None
    """Number of each target row in the training data, int64 (T,), of ``TargetRows`` and numbered pairs."""
    memo: dict[str, Any] = field(default_factory=dict)
    """What ``terms`` leaves, without gradient, for ``diagnostics``: nothing is computed twice in a step."""

    def in_full_precision(self) -> DomainBatch:
        """The same with features and logits in float32 (wider ones as they are); ``memo`` is shared.

        ``classify`` computes in float32 and ``extract`` as the network does now, under autocast where that is on.
        """
        kind = self.source_features.device.type
        is_cast = torch.is_autocast_enabled(kind)
        tensors = ("source_features", "target_features", "source_logits", "target_logits")
        if not is_cast and all(getattr(self, name).dtype not in HALF for name in tensors):
            return self
        dtype, classify, extract = torch.get_autocast_dtype(kind), self.classify, self.extract

        def extracted(**inputs: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=dtype, enabled=is_cast):
                return in_float32(cast(Callable[..., Tensor], extract)(**inputs))

        return replace(
            self,
            **cast(dict[str, Any], {name: in_float32(getattr(self, name)) for name in tensors}),
            classify=partial(called_in_float32, classify) if isinstance(classify, nn.Module) else classify,
            extract=None if extract is None else extracted,
        )

    def of_all_processes(self) -> DomainBatch:
        """The same with the rows of all processes, so that a term of several of them is that of the whole batch.

        ``source_inputs`` and ``target_inputs`` stay this process's; ``extract`` gives features of all rows.
        """
        if number_of_processes() == 1:
            return self
        names = (
            "source_features", "target_features", "source_logits", "target_logits", "labels", "source_weights",
            "row_numbers",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        extract = self.extract

        def extracted(**inputs: Tensor) -> Tensor:
            return all_rows(cast(Callable[..., Tensor], extract)(**inputs))

        return replace(
            self,
            **cast(dict[str, Any], {name: all_rows(rows) for name, rows in given.items()}),
            extract=None if extract is None else extracted,
        )


class InFloat32(nn.Module):
    """A module whose own weights stay in float32 whatever the network's are."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for tensor in [*self.parameters(), *self.buffers()]:
            if tensor.dtype in HALF:
                tensor.data = tensor.data.float()
        return self


class Objective(InFloat32):
    """A method: scalars that are added to the source's cross entropy. May own parameters (a domain head).

    A subclass sets ``name`` and ``summary``, takes keyword-only options with defaults, refuses wrong ones with a
    SettingsError, and implements ``compute_terms``. The objective's own weights stay in float32 whatever the network's
    are: a domain head is small, and its loss is a difference of things that are nearly equal.

    Args:
        width: D, how many features the backbone gives.
        num_labels: C, how many classes.

    Example:
        >>> class MeanGap(Objective):
        ...     name = "mean_gap"
        ...     summary = "equal mean features"
        ...     def compute_terms(self, batch):
        ...         return {"gap_loss": (batch.source_features.mean(0) - batch.target_features.mean(0)).square().sum()}
        >>> MeanGap(width=4, num_labels=3).width
        4
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_target: ClassVar[bool] = True
    """Whether a step must hold target rows."""
    weighs_source: ClassVar[bool] = False
    """Whether its terms weigh source rows by ``batch.source_weights``."""
    needs_source: ClassVar[bool] = True
    """Whether a step must hold source rows with their labels."""
    usual_view: ClassVar[float] = 0.0
    """Amount of ``strong_view`` on training rows where a user of ``compare_adaptations`` says nothing."""
    usual_head: ClassVar[str] = "random"
    """How a fresh label head begins there: at ``"random"`` weights, or ``"probe"``, solved on the source's features."""
    usual_teacher: ClassVar[float] = 0.0
    """Decay of the moving average whose weights are kept there; 0 keeps the network's own."""
    runs_backward: ClassVar[bool] = False
    """Whether ``compute_terms`` takes a gradient through the network, which FSDP2 cannot have inside a forward."""

    def __init__(self, *, width: int, num_labels: int) -> None:
        super().__init__()
        self.width = width
        self.num_labels = num_labels

    def terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Named 0-dim losses to add, weights already inside; an empty dict adds nothing.

        Whatever the network runs in, they are computed in float32, outside autocast: sums of products of features
        overflow in float16, and differences of nearly equal ones vanish in bfloat16.
        """
        batch = batch.in_full_precision()
        with without_autocast(batch.source_features.device):
            return self.compute_terms(batch)

    def compute_terms(self, batch: DomainBatch) -> dict[str, Tensor]:
        """The terms of a batch whose tensors are float32 or wider; autocast is off."""
        raise NotImplementedError

    def diagnostics(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Named 0-dim values worth watching, without gradient: those of ``prediction_statistics``, and what a
        method adds to them.

        Called after ``terms``, with the same batch.
        """
        return prediction_statistics(
            batch.source_features, batch.target_features, batch.source_logits, batch.target_logits
        )
