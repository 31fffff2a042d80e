"""A network's head begun where a regression on its features ends, not at random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import default_data_collator

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting.sample import usual_device
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.features.fixed_batches import FixedBatches
from hf_transfer_kit.features.head_reading import HeadReader, linear_before, solvable_layer
from hf_transfer_kit.features.head_solutions import Labelled, Layer, layer_of_classes, layer_of_labels, layer_of_numbers
from hf_transfer_kit.features.probe_rows import number_array
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_int
from hf_transfer_kit.values.rows import check_map_rows

SOLVABLE = ("classification", "multi_label", "regression")
"""Types of tasks whose head is a regression on one row of features."""
MOST_ROWS = 10_000
_HELD = 1_000


@dataclass(frozen=True, eq=False)
class SolvedHead:
    """What a head begins with.

    Args:
        weight: Of the last layer, float32 (C, D).
        bias: Of the last layer, float32 (C,).
        strength: What the regression was regularised with.
        losses: Strength -> mean loss that it was chosen by; empty where there was no choice.
        rows: Training rows that were fitted.
        seconds: What it took, the pass through the network included.
        before: Weight (R, D) and bias (R,) of the layer before the last, float32, where the head is two linear layers
            with nothing but a mean over positions between them, as those of speech networks: together they are the
            regression on D features. None: that layer stays.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    losses: Mapping[float, float] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    before: tuple[np.ndarray, np.ndarray] | None = None

    def put_into(self, model: nn.Module) -> nn.Module:
        """Writes it into the model's last layer, or last two, in place, in their precision.

        Returns:
            The model.

        Raises:
            ModelError: When the model's last layer is no linear one, or has another size.
        """
        network = plain_model(model)[0]
        name, layer = solvable_layer(network)
        if tuple(layer.weight.shape) != self.weight.shape:
            raise ModelError(
                f"The head was solved for {self.weight.shape[1]} features and {len(self.weight)} outputs; {name!r} "
                f"reads {layer.in_features} and gives {layer.out_features}. Solve it on this network."
            )
        if self.before is not None:
            first = linear_before(network, name)
            if first is None or tuple(first[1].weight.shape) != self.before[0].shape:
                raise ModelError(
                    f"The head was solved as two linear layers, and {type(network).__name__} has no such layer before "
                    f"{name!r}. Solve it on this network."
                )
            _write(first[1], *self.before)
        _write(layer, self.weight, self.bias)
        return model


def _write(layer: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    own: Tensor | None = layer.bias
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if own is not None:
            own.copy_(torch.from_numpy(bias))


@checked_arguments()
def solve_head(
    model: nn.Module,
    dataset: Any,
    *,
    collator: Callable[[list], Mapping[str, Any]] | None = None,
    validation: Any = None,
    task_type: str = "classification",
    class_weights: Sequence[float] | np.ndarray | Tensor | None = None,
    batch_size: int = 32,
    max_rows: int = MOST_ROWS,
    seed: int = 0,
) -> SolvedHead:
    """Begins a fresh head at the solution of a regularised regression on what it reads, before a Trainer is made.

    Works in place, on the last linear layer; what stands before it (a pooler, a head's dense layer, dropout) is used as
    it is. Where that is a linear layer too, without anything between them but a mean over positions (the projector of
    speech networks), the regression reads what enters that one, and is written as the product of both: a random
    projection would lose what the features hold. The features are those of the network as it is now, in evaluation
    mode, from one pass over the rows; its modes and the random state are afterwards as they were. Classes are fitted by
    multinomial logistic regression, several labels a row by one logistic regression each, numbers by ridge regression,
    the strength of their regularisation chosen by the loss on validation rows (1,000 at most; with fewer than 20, on
    left out training rows).
    A checkpoint that training is resumed from has a head of its own, which replaces this one.

    Under ``torch.distributed`` every process calls this; the first one solves, and all get the same bits.

    Args:
        model: A model of transformers or timm whose logits are its last linear layer's.
        dataset: Training rows with ``labels``, map-style as Trainer takes them.
        collator: Trainer's data collator; by default transformers' own.
        validation: Rows to choose the strength by; None leaves out parts of the training rows.
        task_type: ``"classification"``, ``"multi_label"`` (0 or 1) or ``"regression"``; NaN where a label is not known.
        class_weights: What rows of each class count, in both losses, (C,); None counts all alike.
        batch_size: Rows of a forward.
        max_rows: Rows that are fitted at most, drawn with ``seed`` where there are more.
        seed: Of the rows drawn and the parts left out.

    Raises:
        ModelError: When the logits are not those of one linear layer, or it has no bias and the labels are no classes;
            the model is as it was.
        SettingsError: When the type of task has no such head, or an argument is out of range.
        DataError: When the rows have no labels, or others than the task has.
        NotFiniteError: When features are not finite.

    Example:
        >>> solved = solve_head(model, train, collator=collator)
        >>> trainer = Trainer(model, args, train_dataset=train, data_collator=collator)
        >>> solved.weight.shape, solved.rows
        ((3, 16), 12)
    """
    if task_type not in SOLVABLE:
        raise SettingsError(
            f"task_type={task_type!r} has no head to solve: {', '.join(SOLVABLE)} have."
            f"{did_you_mean(task_type, SOLVABLE)}"
        )
    check_int("solve_head", "batch_size", batch_size, low=1)
    check_int("solve_head", "max_rows", max_rows, low=2)
    collate = collator or default_data_collator

    if validation is not None:
        check_map_rows(validation)
    given = class_weights.cpu() if isinstance(class_weights, Tensor) else class_weights
    weights = None if given is None else number_array(given, what="class_weights").astype(np.float64)

    def work() -> SolvedHead:
        started = time.perf_counter()
        network = plain_model(model)[0]
        first = FixedBatches(dataset, collate, batch_size=2, device=usual_device(network))
        with seeded_eval_mode(network, seed):
            reader = HeadReader(network, check_on=first(0), task_type=task_type)
        rows = reader.labelled(dataset, collate, batch_size=batch_size, most=max_rows, seed=seed)
        held = None
        if validation is not None and len(validation):
            held = reader.labelled(validation, collate, batch_size=batch_size, most=_HELD, seed=seed)
        layer = _solution(task_type, reader.layer, rows, held, weights, seed)
        before, weight = None, layer.weight
        if reader.before is not None:
            before, weight = _factored(layer.weight, reader.before)
        seconds = time.perf_counter() - started
        return SolvedHead(weight, layer.bias, layer.strength, layer.losses, len(rows.labels), seconds, before)

    solved = Ranks().broadcast_from_main(work)
    solved.put_into(model)
    return solved


def _solution(
    task_type: str, layer: nn.Linear, rows: Labelled, held: Labelled | None, weights: np.ndarray | None, seed: int
) -> Layer:
    outputs, bias = layer.out_features, cast(Tensor | None, layer.bias) is not None
    if task_type == "classification":
        if weights is not None and weights.shape != (outputs,):
            raise SettingsError(f"class_weights has the shape {weights.shape}; give one number for {outputs} classes.")
        parts = [_classes(part, outputs) if part is not None else None for part in (rows, held)]
        return layer_of_classes(cast(Labelled, parts[0]), outputs, held=parts[1], weights=weights, bias=bias, seed=seed)
    if weights is not None:
        raise SettingsError(f"class_weights are for classification, and task_type is {task_type!r}. Leave them out.")
    several = [_several(part, outputs) if part is not None else None for part in (rows, held)]
    solve = layer_of_labels if task_type == "multi_label" else layer_of_numbers
    return solve(cast(Labelled, several[0]), held=several[1], seed=seed)


def _classes(rows: Labelled, outputs: int) -> Labelled:
    """Those that have a class; -100 is none."""
    labels = rows.labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or (len(labels) and labels.max() >= outputs):
        raise DataError(
            f"The labels have the shape {labels.shape} and type {labels.dtype}; this head needs one class a row, below "
            f"{outputs}."
        )
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        raise DataError("No row has a class, so there is nothing to solve the head on. Give labelled rows.")
    return rows.at(kept)


def _several(rows: Labelled, outputs: int) -> Labelled:
    labels = rows.labels.reshape(len(rows.labels), -1).astype(np.float64)
    if labels.shape[1] != outputs:
        raise DataError(f"The rows have {labels.shape[1]} labels each, and the head gives {outputs} numbers.")
    return Labelled(rows.features, labels)


def _factored(weight: np.ndarray, first: nn.Linear) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Weight and bias of the first of two linear layers, and weight of the second, whose product is ``weight`` (C, D).

    The first one's rows become an orthonormal basis that begins with the space of the weights and goes on with the
    space of its own rows: what learns next can turn anywhere.
    """
    own = first.weight.detach().double().cpu().numpy()  # (R, D)
    basis = np.linalg.qr(np.concatenate([weight.astype(np.float64), own]).T)[0].T[: len(own)]  # (min(R, D), D)
    rows, second = own.copy(), np.zeros((len(weight), len(own)))
    rows[: len(basis)], second[:, : len(basis)] = basis, weight @ basis.T
    return (rows.astype(np.float32), np.zeros(len(own), np.float32)), second.astype(np.float32)
