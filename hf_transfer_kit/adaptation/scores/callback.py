"""Scores of a model in training, where Trainer looks for the metric to choose the best checkpoint by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.adaptation.domain_pairs import unlabelled_batch
from hf_transfer_kit.adaptation.modeling import DomainAdversarialModel
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.adaptation.scores.registry import SCORES, target_scores
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data.collating import on_device
from hf_transfer_kit.data.labels import LABEL_COLUMNS
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_int
from hf_transfer_kit.tuning.all_rows import Part
from hf_transfer_kit.tuning.networks import GIVEN, NetworkCallback
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.values.rows import evenly_spread

Rows = MapRows
Collator = Callable[[list[Any]], Mapping[str, Any]]

_PREFIX = "eval_"

logger = get_logger(__name__)


@torch.no_grad()
def domain_outputs(
    model: nn.Module,
    source: Rows,
    target: Rows,
    collator: Collator,
    *,
    max_rows: int = 1000,
    batch_size: int = 256,
    together: bool = False,
) -> DomainOutputs:
    """Features and logits of both domains, each read with its own BatchNorm statistics, as in evaluation.

    Args:
        model: A DomainAdversarialModel, wrapped or not; modes and random state stay as they were.
        source: Map-style dataset of rows with labels that are not trained on.
        target: Map-style dataset of target rows; labels in them are not read.
        collator: Rows -> batch, with ``labels`` for source rows.
        max_rows: At most so many of each domain, evenly spread.
        batch_size: Rows a forward.
        together: Whether all processes call it, so that each reads a part; all get everything.

    Raises:
        ModelError: When it is another model.
        DataError: When a domain is empty, or source rows come without labels.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> outputs = domain_outputs(adapted, test, target, collator)
        >>> outputs.target_logits.shape, outputs.source_labels.shape
        ((8, 3), (6,))
    """
    inner, _ = plain_model(model)
    if not isinstance(inner, DomainAdversarialModel):
        raise ModelError(
            f"{type(inner).__name__} shows no features beside its logits; scores read a DomainAdversarialModel. Make "
            "one with DomainAdversarialModel.from_classifier(model, method='source_only')."
        )
    for name, dataset in (("source", source), ("target", target)):
        if len(dataset) == 0:
            raise DataError(f"The {name} has no rows to compute scores on. Check its split or its filter.")
    found: dict[str, list[torch.Tensor]] = {name: [] for name in DomainOutputs.__dataclass_fields__}
    parts = {}
    columns = [name for name in source[0] if name in LABEL_COLUMNS]
    device = next(inner.parameters()).device
    with seeded_eval_mode(inner, seed=0):
        parts["source"], chunks = _chunks(source, max_rows, batch_size, together)
        for chunk in chunks:
            batch = dict(collator(chunk))
            if batch.get("labels") is None:
                raise DataError("Source rows came without labels, which scores of the source need. Keep that column.")
            found["source_labels"].append(torch.as_tensor(batch.pop("labels")).to(device))
            _keep(found, "source", inner.read(on_device(batch, device), domain="source"))
        parts["target"], chunks = _chunks(target, max_rows, batch_size, together)
        for chunk in chunks:
            batch = unlabelled_batch(collator, chunk, labels=columns)
            _keep(found, "target", inner.read(on_device(batch, device), domain="target"))
    return DomainOutputs(
        **{name: parts[name.split("_")[0]].whole(torch.cat(tensors)).cpu().numpy() for name, tensors in found.items()}
    )


class TargetScores(NetworkCallback):
    """Adds scores to the metrics of each evaluation, so that Trainer may choose the best checkpoint by one of them.

    ``TrainingArguments(metric_for_best_model="eval_bnm", load_best_model_at_end=True)`` then needs no labels of the
    target. Scores stand in ``log_history`` as ``eval_`` and their name; trackers, which Trainer tells first, miss them.

    Args:
        source: Rows with labels that are not trained on (a validation split).
        target: Target rows; labels in them are not read.
        collator: Rows -> batch; a ``DomainCollator`` will do.
        scores: Keys of ``SCORES``; all by default.
        max_rows: At most so many of each domain, at least 2.
        batch_size: Rows a forward.

    Raises:
        SettingsError: When a score is unknown, a number out of range, or (when Trainer is made) Trainer is to choose by
            a score the wrong way round.
        ModelError: At the first evaluation, when the model is no DomainAdversarialModel.

    Example:
        >>> adapted = DomainAdversarialModel.from_classifier(model, method="dann")
        >>> scores = TargetScores(test, target, collator, scores=["bnm", "information"])
        >>> trainer = Trainer(adapted, args, eval_dataset=test, data_collator=collator, callbacks=[scores])
        >>> 0 < trainer.evaluate()["eval_bnm"] <= 1
        True
    """

    reaches_parameters = True
    instead_of_shards = "Or compute target_scores on the saved checkpoints."

    def __init__(
        self,
        source: Rows,
        target: Rows,
        collator: Collator,
        *,
        scores: Sequence[str] = tuple(SCORES),
        max_rows: int = 1000,
        batch_size: int = 256,
    ) -> None:
        for name in scores:
            if name not in SCORES:
                raise SettingsError(
                    f"The score {name!r} is unknown; choose among {', '.join(SCORES)}.{did_you_mean(name, SCORES)}"
                )
        self.source = source
        self.target = target
        self.collator = collator
        self.scores = scores
        self.max_rows = check_int("TargetScores", "max_rows", max_rows, low=2)
        self.batch_size = check_int("TargetScores", "batch_size", batch_size, low=1)
        self._taken: set[str] = set()
        self._last: tuple[int, dict[str, float]] | None = None

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        name = (args.metric_for_best_model or "").removeprefix(_PREFIX)
        if name in self.scores and bool(args.greater_is_better) != SCORES[name].larger_is_better:
            raise SettingsError(
                f"metric_for_best_model={args.metric_for_best_model!r} with greater_is_better={args.greater_is_better} "
                f"would choose the worst checkpoint. Set greater_is_better={SCORES[name].larger_is_better}."
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        metrics: dict[str, float] = GIVEN,
        **kwargs: Any,
    ) -> None:
        # Trainer evaluates several datasets one by one; their model is the same.
        if self._last is None or self._last[0] != state.global_step:
            self._last = (state.global_step, self._computed(model))
        found = {_PREFIX + name: value for name, value in self._last[1].items()}
        taken = {name for name in found if metrics is not None and name in metrics} - self._taken
        if taken:
            self._taken |= taken
            logger.warning(
                f"{', '.join(sorted(taken))} is Trainer's own figure of an evaluation dataset; the score of that name "
                "is left out. Give the dataset another name to have both."
            )
        found = {name: value for name, value in found.items() if name not in self._taken}
        if metrics is not None:
            metrics.update(found)  # the very dict in which Trainer looks for metric_for_best_model
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(found)

    def _computed(self, model: nn.Module) -> dict[str, float]:
        outputs = domain_outputs(
            model,
            self.source,
            self.target,
            self.collator,
            max_rows=self.max_rows,
            batch_size=self.batch_size,
            together=True,
        )
        # All processes must choose alike, though their BatchNorm statistics may differ a little.
        return broadcast_object_list([target_scores(outputs, self.scores)])[0]


def _chunks(dataset: Rows, max_rows: int, batch_size: int, together: bool) -> tuple[Part, Iterator[list[Any]]]:
    chosen = evenly_spread(len(dataset), max_rows)
    part = Part(len(chosen), together=together)
    return part, ([dataset[chosen[place]] for place in places] for places in part.batches(batch_size))


def _keep(found: dict[str, list[torch.Tensor]], domain: str, read: tuple[torch.Tensor, torch.Tensor]) -> None:
    for name, tensor in zip(("logits", "features"), read, strict=True):
        found[f"{domain}_{name}"].append(tensor.float())
