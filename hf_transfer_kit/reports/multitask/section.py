"""What a comparison of ways to train several tasks adds to pages and cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hf_transfer_kit.reports.escaping import quoted
from hf_transfer_kit.reports.multitask.pictures import (
    affinity_picture,
    gain_bars,
    sharing_curve,
    sharing_results,
    task_losses_picture,
)
from hf_transfer_kit.reports.multitask.report import multitask_table
from hf_transfer_kit.reports.multitask.words import affinity_sentence, multitask_words
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.reports.section import CardPart, CardPicture, Evaluation, Section, Usage
from hf_transfer_kit.values import MultiTasking, Verdict


def _words(report: TransferReport, found: MultiTasking) -> Mapping[str, Any]:
    affinity = found.result(found.chosen).affinity
    return {
        **multitask_words(found),
        "sharing": sharing_results(found),
        "affinity_words": affinity_sentence(affinity, found.tasks) if affinity else "",
    }


def _pictures(report: TransferReport, found: MultiTasking, narrow: bool) -> Mapping[str, str | None]:
    chosen = found.result(found.chosen)
    return {
        "gains": gain_bars(found, chosen, narrow=narrow),
        "losses": task_losses_picture(chosen, found.tasks, narrow=narrow),
        "sharing": sharing_curve(found, narrow=narrow),
        "affinity": affinity_picture(chosen.affinity, found.tasks, narrow=narrow) if chosen.affinity else None,
    }


def _card_pictures(report: TransferReport, found: MultiTasking) -> Mapping[str, CardPicture]:
    chosen = found.result(found.chosen)
    return {
        "gains": CardPicture(gain_bars(found, chosen), "Gain of each task over itself alone"),
        "losses": CardPicture(task_losses_picture(chosen, found.tasks), "Loss of each task over the steps"),
    }


def _verdicts(found: MultiTasking) -> Iterable[Verdict]:
    for result in sorted(found.results, key=lambda result: result.method != found.chosen):
        yield from result.verdicts.values()


def _results(report: TransferReport, found: MultiTasking) -> Iterable[Evaluation]:
    for task in found.tasks:
        value = report.metrics[f"{task.name}_{task.metric}"]
        yield Evaluation(task.type.replace("_", "-"), task.dataset, task.metric, value)


def _usage(found: MultiTasking, asked: str) -> Usage:
    task = found.tasks[0]
    name = quoted(task.name)
    return Usage(
        "hf_transfer_kit.multitask",
        (
            f"plain = model.export({name})  # one task as an ordinary checkpoint",
            "print(type(plain).__name__, plain.config.num_labels)",
        ),
        asking=(f"print(model(task={name}, **inputs([{asked}])).logits)",),
        input=task.input if len({other.input for other in found.tasks}) > 1 else None,
    )


SECTION = Section(
    name="multitask",
    order=70,
    find=lambda report: report.multitasking,
    table=lambda report, found: multitask_table(found),
    words=_words,
    pictures=_pictures,
    verdicts=_verdicts,
    leaves_model=True,
    card=CardPart(
        template="multitask/card.md.jinja",
        tag="multi-task",
        pictures=_card_pictures,
        results=_results,
        several_datasets=True,
        pipeline=False,
        usage=_usage,
    ),
)
