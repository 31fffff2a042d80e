"""Everything that computes beside a loss or changes how weights move, each in a small training of its own.

Methods, balancers and heads are those of the registries, callbacks those that the rooms' ``__all__`` name: a new one is
here by itself, and where it cannot be made without arguments, its line is missing here and it is reported as failed.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from part_cases import PARTS
from torch import nn
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit import layerwise_optimizer
from hf_transfer_kit.adaptation import (
    OBJECTIVES,
    SOURCE_FREE,
    SOURCES_OBJECTIVES,
    SWAD,
    MeanTeacher,
    PseudoLabels,
    ReestimateBatchNorm,
    TargetScores,
    TargetShares,
)
from hf_transfer_kit.multitask import BALANCERS, HEADS
from hf_transfer_kit.tuning import BSS, L2SP, CoTuning, FreezeSchedule, RestoreWeights, RoundWeights, ScalarCallback
from hf_transfer_kit.zero_shot import JOINT_METHODS
from hf_transfer_kit.zero_shot import METHODS as ATTRIBUTE_METHODS
from on_gpu.bench import Bench
from on_gpu.trainings import Training, adapted, balanced, generalised, headed, tuned, unseen, without_source


def cases() -> dict[str, Callable[[Bench], Training]]:
    """``room/part`` -> its training."""
    found: dict[str, Callable[[Bench], Training]] = {"tuning/nothing": tuned}
    found["tuning/layerwise_optimizer"] = partial(tuned, optimizer=_by_depth)
    for name, make in {**_callbacks("tuning"), **_VARIANTS}.items():
        found[f"tuning/{name}"] = partial(tuned, part=make)
    found |= {f"adaptation/{name}": partial(adapted, method=name) for name in OBJECTIVES}
    found |= {f"source_free/{name}": partial(without_source, method=name) for name in SOURCE_FREE}
    found |= {f"several_sources/{name}": partial(generalised, method=name) for name in SOURCES_OBJECTIVES}
    for name, make in _callbacks("adaptation").items():
        whose = generalised if name in _OF_SEVERAL_SOURCES else partial(adapted, method=_BESIDE.get(name, "dann"))
        found[f"adaptation/{name}"] = partial(whose, more=make)
    found["multitask/nothing"] = balanced
    found |= {f"multitask/{name}": partial(balanced, name=name) for name in BALANCERS}
    for name, make in _callbacks("multitask").items():
        found[f"multitask/{name}"] = partial(_balanced_with, make)
    found |= {f"heads/{kind}": partial(headed, kind=kind) for kind in HEADS}
    found |= {f"zero_shot/{name}": partial(unseen, method=name) for name in (*ATTRIBUTE_METHODS, *JOINT_METHODS)}
    return found


def plain_case(name: str) -> str:
    """The case to judge by: the same training with nothing beside it, or itself where there is none."""
    room = name.partition("/")[0]
    of_room = {
        "tuning": "tuning/nothing",
        "zero_shot": "tuning/nothing",
        "adaptation": "adaptation/source_only",
        "source_free": "adaptation/source_only",
        "several_sources": "several_sources/joint",
        "multitask": "multitask/nothing",
    }
    return of_room.get(room, name)


def callback_classes(room: str) -> dict[str, type[TrainerCallback]]:
    """The callbacks that a room's ``__all__`` names, but the base class of others."""
    words = importlib.import_module(f"hf_transfer_kit.{room}")
    found = {name: getattr(words, name) for name in getattr(words, "__all__", ())}
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, TrainerCallback) and kind is not ScalarCallback
    }


def _callbacks(room: str) -> dict[str, Callable[..., TrainerCallback]]:
    return {name: _MADE.get(name, partial(_bare, kind)) for name, kind in callback_classes(room).items()}


def _bare(kind: type[TrainerCallback], *given: Any) -> TrainerCallback:
    return kind()


def _balanced_with(make: Callable[[], TrainerCallback], bench: Bench) -> Training:
    return balanced(bench, "gradnorm", make())


def _by_depth(model: nn.Module, args: TrainingArguments) -> tuple:
    return layerwise_optimizer(model, args, decay=0.5)


_VARIANTS: dict[str, Callable[[nn.Module, list], TrainerCallback]] = {
    "L2SP, decoupled": lambda source, rows: L2SP(0.1, 0.1, decoupled=True),
    "BSS, alpha 0.1": lambda source, rows: BSS(alpha=0.1),
}

_BESIDE = {"PseudoLabels": "clusters"}
"""Method that a callback of adaptation stands beside, where it is not the usual one."""
_OF_SEVERAL_SOURCES = ("SWAD", "ReshuffleSources")
_MADE: dict[str, Callable[..., TrainerCallback]] = {  # callbacks that need something to be made
    **PARTS,
    "FreezeSchedule": lambda source, rows: FreezeSchedule.lp_ft(quiet=True),
    "CoTuning": lambda source, rows: CoTuning(source=source),
    "RestoreWeights": lambda source, rows: RestoreWeights(None),
    "RoundWeights": lambda source, rows: RoundWeights("bfloat16"),
    "SWAD": lambda sources, collator: SWAD(sources, collator, start_patience=1, end_patience=1),
    "MeanTeacher": lambda source, target, collator: MeanTeacher(0.9),
    "PseudoLabels": lambda source, target, collator: PseudoLabels(target, collator),
    "ReestimateBatchNorm": lambda source, target, collator: ReestimateBatchNorm(target, collator),
    "TargetScores": lambda source, target, collator: TargetScores(source, target, collator),
    "TargetShares": lambda source, target, collator: TargetShares(
        [row["labels"] for row in source], target, collator, every=2
    ),
}
