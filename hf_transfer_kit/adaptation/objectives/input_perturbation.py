"""Rows through the network once more, changed on the way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional

from hf_transfer_kit.adaptation.objectives.objective import DomainBatch
from hf_transfer_kit.errors import ModelError


def continuous_input(batch: DomainBatch, method: str) -> str:
    """Name of the target's input that holds real numbers (pixels, waves).

    Raises:
        ModelError: When there is none, as for tokens, or the step offers no second look.
    """
    inputs, _ = offered(batch, method, "target")
    for name, values in inputs.items():
        if values.is_floating_point():
            return name
    raise ModelError(
        f"{method} moves the input by small amounts, but the inputs {', '.join(inputs)} hold no real "
        "numbers. Choose a method that leaves inputs as they are, such as dann, cdan or mcc."
    )


def changed_features(
    batch: DomainBatch, method: str, change: Callable[[Tensor], Tensor], *, domain: str = "target"
) -> Tensor:
    """Features of one domain's rows with their real-valued inputs changed; others (tokens, masks) stay.

    A network with dropout gives other features than before also where nothing was changed.

    Args:
        batch: The step.
        method: Name, for the error.
        change: Input -> input of the same shape.
        domain: ``"source"`` or ``"target"``.

    Returns:
        (S, D) or (T, D).

    Raises:
        ModelError: When the step offers no second look.
    """
    inputs, extract = offered(batch, method, domain)
    return extract(
        **{name: change(values) if values.is_floating_point() else values for name, values in inputs.items()}
    )


def changed_class_loss(
    batch: DomainBatch, method: str, change: Callable[[Tensor], Tensor], weight: float
) -> dict[str, Tensor]:
    """``strong_class_loss``: weighted cross entropy of source rows with their inputs changed; nothing at weight 0."""
    if not weight:
        return {}
    logits = batch.classify(changed_features(batch, method, change, domain="source"))
    return {"strong_class_loss": weight * functional.cross_entropy(logits, batch.labels)}


def offered(batch: DomainBatch, method: str, domain: str) -> tuple[Mapping[str, Tensor], Callable[..., Tensor]]:
    """Inputs of one domain's rows, and what makes features of them once more.

    Raises:
        ModelError: When the step offers no second look.
    """
    if batch.extract is None or batch.source_inputs is None or batch.target_inputs is None:
        raise ModelError(
            f"{method} looks at rows twice, and this step offers no second look. Use it inside "
            "DomainAdversarialModel, or give DomainBatch extract=, source_inputs= and target_inputs=."
        )
    return batch.source_inputs if domain == "source" else batch.target_inputs, batch.extract
