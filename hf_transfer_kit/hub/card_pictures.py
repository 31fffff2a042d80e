"""The pictures of a card: one or two a recipe, as files beside it."""

from __future__ import annotations

from pathlib import Path

from hf_transfer_kit.metrics.words import metric_words
from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.reports.adaptation_pictures import adaptation_scalars, feature_maps_picture
from hf_transfer_kit.reports.escaping import mapped, plain_text
from hf_transfer_kit.reports.generalisation_pictures import left_out_picture
from hf_transfer_kit.reports.multitask_pictures import gain_bars, task_losses_picture
from hf_transfer_kit.reports.pictures import learning_curves
from hf_transfer_kit.reports.zero_shot_pictures import seen_unseen_picture


def save_card_pictures(folder: Path, report: TransferReport) -> dict[str, str]:
    """Writes ``pictures/NAME.svg`` into a folder.

    Returns:
        Path relative to the folder -> what the picture shows, for those who do not see it.
    """
    found = {}
    report = mapped(report, plain_text)
    for name, (svg, words) in _drawn(report).items():
        if svg is not None:
            path = folder / "pictures" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            found[f"pictures/{name}.svg"] = words
    return found


def _drawn(report: TransferReport) -> dict[str, tuple[str | None, str]]:
    if report.adaptation:
        chosen = report.adaptation.result(report.adaptation.chosen)
        maps = report.adaptation.feature_maps
        return {
            "run": (adaptation_scalars(chosen), f"What the run of {chosen.method} logged over its steps"),
            "features": (
                feature_maps_picture(maps, report.data["classes"]) if maps else None,
                "Features of both domains by t-SNE, coloured by domain and by class, before and after",
            ),
        }
    if report.generalisation:
        words = "Accuracy of each method on each source that was left out of its training"
        return {"left_out": (left_out_picture(report.generalisation), words)}
    if report.multitasking:
        best = report.multitasking.result(report.multitasking.chosen)
        return {
            "gains": (gain_bars(report.multitasking, best), "Gain of each task over itself alone"),
            "losses": (task_losses_picture(best, report.multitasking.tasks), "Loss of each task over the steps"),
        }
    if report.zero_shot:
        words = "Accuracy of unseen classes against that of seen ones"
        return {"curve": (seen_unseen_picture(report.zero_shot), words)}
    curves = [result for result in report.results if any(point.accuracy is not None for point in result.curve)]
    metric = metric_words(curves[0].metric) if curves else ""
    words = f"Validation {metric} and loss over the steps, one line a strategy"
    return {"curves": (learning_curves(curves) if curves else None, words)}
