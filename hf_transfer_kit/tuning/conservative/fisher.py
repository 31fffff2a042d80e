"""The diagonal Fisher information of a model: how much each weight matters to what it predicts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.taken_batches import misfits_told
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.options import check_choice
from hf_transfer_kit.tuning.conservative.anchor import fingerprint_of
from hf_transfer_kit.tuning.shared_rows import own_batches, sum_over_processes

LABELS = ("empirical", "sampled")
_ROWS_IN_KEY = 16


def estimate_fisher(
    model: nn.Module,
    dataset: Any,
    collate: Callable[[list], Mapping[str, Any]],
    names: Iterable[str],
    *,
    num_samples: int = 256,
    batch_size: int = 1,
    labels: str = "empirical",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Mean over rows of the squared gradient of -log p(y | x) in each named parameter (Kirkpatrick et al. 2017).

    The model is in evaluation mode meanwhile; its gradients, modes and all random states stay as they are. Several
    processes share the rows and get the same result.

    Args:
        model: The pretrained model, its loss the mean negative log-likelihood.
        dataset: Rows with labels.
        collate: Makes a batch of rows.
        names: Qualified names of parameters; frozen ones may be among them.
        num_samples: Rows to use, chosen with ``seed``.
        batch_size: 1 is exact, a gradient a row. With B > 1 the squared gradient of the batch's mean loss times B
            stands for the mean of the B squares: B times cheaper, and equal in expectation where rows' gradients have
            mean zero, as they nearly have under sampled labels.
        labels: ``"empirical"`` takes the dataset's labels, ``"sampled"`` draws them from the model's own predictions
            (logits of shape (B, ..., C)), which is the Fisher information proper.
        seed: Of the choice of rows and of the drawn labels.

    Returns:
        Name -> tensor of the parameter's shape, >= 0, in its precision or float32 where that is higher.

    Raises:
        SettingsError: When ``labels`` is unknown, or there are no rows.
    """
    check_choice("estimate_fisher", "labels", labels, LABELS)
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in set(names)}
    first = next(iter(parameters.values()))
    totals = {
        name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for name, p in parameters.items()
    }
    count = torch.zeros((), device=first.device)
    asked = {name: parameter.requires_grad for name, parameter in parameters.items()}
    batches = own_batches(dataset, collate, batch_size=batch_size, num_samples=num_samples, seed=seed)
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        with seeded_eval_mode(model, seed), torch.enable_grad():
            for batch in batches:
                inputs = on_device(batch, first.device)
                rows = _num_rows(inputs)
                loss = _loss(model, inputs, labels)
                gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
                for total, gradient in zip(totals.values(), gradients, strict=True):
                    if gradient is not None:
                        # The mean's gradient is 1/B of the sum's: B rows with the square of B times it, over B.
                        total.add_(gradient.to(total.dtype).square(), alpha=rows * rows)
                count += rows
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(asked[name])
    if not sum_over_processes(count):
        raise SettingsError("The Fisher information needs rows to be estimated on, and the dataset has none.")
    return {name: sum_over_processes(total) / count for name, total in totals.items()}


def normalised(fisher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same divided by its mean over all elements, so that a strength means what it means in plain L2-SP.

    Raises:
        SettingsError: When it is zero everywhere, or not finite.
    """
    mean = sum(float(f.double().sum()) for f in fisher.values()) / max(1, sum(f.numel() for f in fisher.values()))
    if not 0 < mean < float("inf"):
        raise SettingsError(
            f"The Fisher information has mean {mean}: nothing can be weighted by it. A head that starts at zero sends "
            "no gradient into the body (replace_head(init='default')); a loss that is not finite sends too much."
        )
    return {name: f / mean for name, f in fisher.items()}


def fisher_key(
    model: nn.Module, dataset: Any, collate: Callable, *, num_samples: int, batch_size: int, labels: str, seed: int
) -> str:
    """What an estimate depends on, as a short text for a file's name.

    That is the weights, the settings, the dataset's length and own fingerprint, and the first rows that are used.
    """
    digest = hashlib.sha256(fingerprint_of(dict(model.named_parameters())).encode())
    length = len(dataset) if hasattr(dataset, "__len__") else None
    digest.update(
        repr((num_samples, batch_size, labels, seed, length, getattr(dataset, "_fingerprint", None))).encode()
    )
    with seeded_eval_mode(model, seed):
        few = min(num_samples, _ROWS_IN_KEY)
        for batch in own_batches(dataset, collate, batch_size=few, num_samples=few, seed=seed):
            tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
            digest.update(fingerprint_of(tensors).encode())
    return digest.hexdigest()[:16]


def _num_rows(inputs: Mapping[str, Any]) -> int:
    return next(len(value) for value in inputs.values() if isinstance(value, Tensor))


def _loss(model: nn.Module, inputs: Mapping[str, Any], labels: str) -> Tensor:
    try:
        with misfits_told(model, inputs):
            outputs = model(**inputs)
    except DataError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        raise SettingsError(
            f"The Fisher information is estimated by model(**batch), which {type(model).__name__} does not take "
            f"({error}). Estimate it by a loop of your own and give L2SPFisher(fisher=...), or use L2SP."
        ) from error
    if labels == "empirical":
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs[0]
        if loss is None:
            raise SettingsError("The model gave no loss for these rows: they need labels, or use labels='sampled'.")
        return loss
    logits = outputs["logits"].flatten(0, -2)
    drawn = torch.multinomial(logits.detach().softmax(-1), 1).squeeze(-1)
    return nn.functional.cross_entropy(logits, drawn)
