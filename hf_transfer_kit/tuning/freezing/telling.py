"""What a schedule of stages says to people: its table, and where it will not do what was meant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.tuning.freezing.schedule import Stage
from hf_transfer_kit.values import LayerGroups

logger = get_logger(__name__)

Trained = Sequence[Collection[str]]
"""For each stage, the names of the parameters that move in it."""


def tell_stages(groups: LayerGroups, stages: Sequence[Stage], trained: Trained) -> None:
    """Logs the table of stages at level info."""
    logger.info("%s", stage_table(groups, stages, trained))


def warn_of_unreached(owner: str, stages: Sequence[Stage], max_steps: int, *, what_would_fit: str) -> None:
    """Where training ends before the last stage begins."""
    for number, stage in enumerate(stages[:-1], 1):
        if stage.until is not None and stage.until >= max_steps:
            logger.warning(
                f"{owner}: training ends after {max_steps} steps, but stage {number} ({stages[number].title}) begins "
                f"at step {stage.until} and is not reached. {what_would_fit}"
            )
            return


def warn_of_no_difference(owner: str, trained: Trained, *, adapters_always: bool) -> None:
    """Where every stage trains the same."""
    if len(trained) > 1 and len(set(map(frozenset, trained))) == 1:
        advice = " Set adapters='staged' to thaw adapters with their layers." if adapters_always else ""
        logger.warning(f"{owner}: every stage trains the same parameters.{advice}")


def warn_of_falling_back(owner: str, stage: int, before: int, *, step: int) -> None:
    """Where a resumed run is longer, so that layers which had thawed are frozen again."""
    if stage < before:
        logger.warning(
            f"{owner}: resumed at step {step} in stage {stage}, and stage {before} had been reached: this run is "
            "longer, so its shares of training end later, and layers that had thawed are frozen again. Times given in "
            "steps do not move with the length."
        )


def warn_of_untrained(owner: str, groups: LayerGroups, trained: Trained, stage: int) -> None:
    """Where training ends in an early stage: what no stage so far has trained looks trainable again afterwards."""
    late = frozenset().union(*trained) - frozenset().union(*trained[: stage + 1])
    if late:
        names = ", ".join(group.name for group in groups if late & set(group.parameters))
        logger.warning(
            f"{owner}: training ended in stage {stage} of 0 to {len(trained) - 1}, which has not trained {names}; "
            "they require gradients again all the same."
        )


def stage_table(groups: LayerGroups, stages: Sequence[Stage], trained: Trained) -> str:
    """A table for people: stage, first step, what is trained, number and share of its scalars, factors on rates.

    Args:
        groups: Layer groups of the model.
        stages: The stages.
        trained: For each stage, the names of the parameters that move in it.
    """
    sizes = {name: parameter.numel() for group in groups for name, parameter in group.parameters.items()}
    total = max(sum(sizes.values()), 1)
    lines = [("stage", "from step", "trained", "parameters", "share", "rates")]
    start = "0"
    for number, stage in enumerate(stages):
        count = sum(sizes[name] for name in trained[number])
        rates = sorted(set(stage.factors.values()) - {1.0})
        factors = f"x {rates[0]:g} to {rates[-1]:g}" if len(rates) > 1 else "".join(f"x {rate:g}" for rate in rates)
        lines.append((str(number), start, stage.title, f"{count:,}", f"{count / total:.1%}", factors))
        known = [] if stage.until is None else [str(stage.until)]
        start = " or ".join([*known, *([f"{stage.plateau.key} flat"] if stage.plateau else [])])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
