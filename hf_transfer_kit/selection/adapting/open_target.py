"""A target with rows of classes that the source lacks: which of them the chosen network rejects, and how well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import domain_outputs, target_outputs
from hf_transfer_kit.adaptation.rejection import RejectionChoice, choose_rejection, open_set_metrics
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.data.memory import Rows, SomeRows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.options import check_ints
from hf_transfer_kit.selection.adapting.methods import AdaptationMethod
from hf_transfer_kit.selection.adapting.running import ROWS, AdaptationRun, Domains, run_adaptation
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.values import UnknownRows


def open_domains(domains: Domains) -> tuple[Domains, PreparedData | None]:
    """The domains with the target's unknown rows unlabelled, and its labelled test rows as they were.

    Labels of training and validation rows are left out; of the test rows, which alone are judged, those of known
    classes stay.

    Args:
        domains: The target's classes may go beyond the source's (``load_data(..., open_classes=True)``).

    Returns:
        The domains to adapt in, and the target with all of its test rows, None where these have no labels.

    Example:
        >>> known, whole = open_domains(domains)
        >>> len(known.target.test), len(whole.test)
        (15, 15)
    """
    target = domains.target
    bare: dict[str, Any] = {split: _unlabelled(getattr(target, split)) for split in ("train", "validation")}
    if "test" not in domains.labelled:
        return replace(domains, target=replace(target, **bare, test=_unlabelled(target.test)), labelled=()), None
    known = np.flatnonzero(np.asarray(target.test.classes) < len(domains.source.label_names))
    if not len(known):
        raise DataError("No test row of the target has a class that the source has: there is nothing to adapt to.")
    return replace(
        domains, target=replace(target, **bare, test=SomeRows(target.test, known)), labelled=("test",)
    ), target


def held_out_classes(label_names: Sequence[str], *, seed: int = 0) -> tuple[int, ...]:
    """A third of the classes, at least one, drawn by ``seed``, to stand for unknown ones.

    Raises:
        SettingsError: When there are fewer than three classes: two must stay to be told apart.

    Example:
        >>> held_out_classes(["cat", "dog", "fox", "owl", "bat", "ant"], seed=0)
        (2, 3)
    """
    if len(label_names) < 3:
        raise SettingsError(
            f"The source has {len(label_names)} classes; choosing what to reject holds one out and needs two more."
        )
    drawn = np.random.default_rng(seed).permutation(len(label_names))[: max(1, len(label_names) // 3)]
    return tuple(sorted(int(index) for index in drawn))


def find_rejection(
    method: AdaptationMethod,
    run: AdaptationRun,
    make_model: Callable[[int], PreTrainedModel],
    domains: Domains,
    args: TrainingArguments,
    budget: Budget,
    *,
    select: str,
    held_out: Collection[int] | None = None,
    max_rows: int = ROWS,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[RejectionChoice, UnknownRows]:
    """Trains the method once more without some of the source's classes, whose rows then stand for unknown ones.

    No label of the target is read. Source rows of the held-out classes that were not trained on are ranked against
    those of the others; the share of known rows that is best given up there is given up by the kept network.

    Args:
        method: What the kept network was trained with.
        run: Its run.
        make_model: Seed -> classifier with a fresh head.
        domains: As for the comparison.
        args: As for the comparison.
        budget: As for the comparison.
        select: As for the comparison.
        held_out: Indices of the classes; ``held_out_classes`` of the run's seed by default.
        max_rows: Source rows that are looked at, at most.
        callbacks: For the run.

    Raises:
        SettingsError: When fewer than two classes would stay, or one is unknown.

    Example:
        >>> method = make_method("mmd")
        >>> run = run_adaptation(method, make_model, domains, args, budget, seed=0, select="last")
        >>> choice, unknown = find_rejection(method, run, make_model, domains, args, budget, select="last")
        >>> unknown.held_out, 0 <= unknown.held_out_auroc <= 1
        (('top',), True)
    """
    names = domains.source.label_names
    if held_out is None:
        held_out = held_out_classes(names, seed=run.seed)
    held_out = tuple(sorted(check_ints("find_rejection", "held_out", held_out, low=0, high=len(names) - 1)))
    if len(names) - len(held_out) < 2:
        raise SettingsError(f"held_out={held_out} of {len(names)} classes: leave at least two.")
    fewer = replace(domains, source=_without(domains.source, held_out), labelled=())
    second = run_adaptation(method, make_model, fewer, args, budget, seed=run.seed, select=select, callbacks=callbacks)
    validation, collator = domains.source.validation, domains.source.collator
    outputs = [
        domain_outputs(model, validation, domains.target.validation, collator, max_rows=max_rows, together=True)
        for model in (run.model, second.model)
    ]
    untaught = np.isin(outputs[1].source_labels, held_out)
    choice = choose_rejection(
        outputs[0].source_logits, outputs[1].source_logits[~untaught], outputs[1].source_logits[untaught]
    )
    return choice, UnknownRows(
        score=choice.rejection.score,
        threshold=choice.rejection.threshold,
        held_out=tuple(names[index] for index in held_out),
        held_out_auroc=choice.auroc,
        held_out_rejected=choice.rejected_unknown,
        source_rejected=choice.rejected_known,
        target_rejected=float(choice.rejection(outputs[0].target_logits).mean()),
    )


def judged(unknown: UnknownRows, choice: RejectionChoice, run: AdaptationRun, target: PreparedData) -> UnknownRows:
    """The same with figures of the target's test rows, looked at once, where they show known and unknown classes.

    Example:
        >>> method = make_method("mmd")
        >>> run = run_adaptation(method, make_model, domains, args, budget, seed=0, select="last")
        >>> choice, unknown = find_rejection(method, run, make_model, domains, args, budget, select="last")
        >>> judged(unknown, choice, run, domains.target) == unknown  # its test rows are all of known classes
        True
    """
    labels = np.asarray(target.test.classes)
    unknown_rows = labels >= len(target_names(run))
    if unknown_rows.all() or not unknown_rows.any():
        return unknown
    logits, _ = target_outputs(run.model, _unlabelled(target.test), target.collator, together=True)
    return replace(unknown, test=open_set_metrics(logits, labels, choice.rejection))


def target_names(run: AdaptationRun) -> tuple[str, ...]:
    """Classes that the run's network names."""
    config: Any = run.model.config
    return tuple(config.id2label[index] for index in range(config.num_labels))


def _unlabelled(rows: Any) -> Rows:
    return Rows(rows.values, None, rows.name, change=rows.change)


def _without(source: PreparedData, held_out: Collection[int]) -> PreparedData:
    """The source without the training and validation rows of some classes; their names, and so the head, stay."""
    kept: dict[str, Any] = {}
    for split in ("train", "validation"):
        rows = getattr(source, split)
        kept[split] = SomeRows(rows, np.flatnonzero(~np.isin(classes_of(rows), list(held_out))))
    return replace(source, **kept)
