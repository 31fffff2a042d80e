"""Small trainings for ``parts``: of a classifier, two domains, several sources, several tasks, unseen classes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tiny
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import default_collate
from transformers import TrainerCallback, TrainingArguments

from hf_transfer_kit import AttributeTable, ZeroShotModel
from hf_transfer_kit.adaptation import (
    AdversarialSchedule,
    DomainAdversarialModel,
    DomainCollator,
    DomainPairs,
    MeanTeacher,
    PseudoLabels,
    ReshuffleSources,
    SeveralSources,
    SeveralSourcesModel,
    SourcesCollator,
    TargetRows,
)
from hf_transfer_kit.multitask import (
    BALANCERS,
    BalancingEpochs,
    MultiTaskCollator,
    MultiTaskDataset,
    MultiTaskEpochs,
    MultiTaskModel,
    Source,
)
from hf_transfer_kit.tuning import LogScalars
from on_gpu.bench import Bench

CLASSES = 3
_OPTIONS: Mapping[str, Mapping[str, Any]] = {  # so that small random networks are sure enough to be learned from
    "adamatch": {"threshold": 0.0},
    "self_training": {"threshold": 0.0},
}
_TAUGHT = ("adamatch", "self_training")


@dataclass
class Training:
    """One training by the stock Trainer.

    Args:
        model: On the CPU, as Trainer takes it.
        rows: What it learns from.
        collator: Of the rows.
        callbacks: In order.
        batch: Rows a step.
        optimizer: Makes what Trainer takes as ``optimizer_cls_and_kwargs``; None for its own.
        evaluates: Whether a callback works at evaluations.
        evaluated: Rows of evaluations.
    """

    model: nn.Module
    rows: Any
    collator: Callable[[list], Mapping[str, Any]] = default_collate
    callbacks: Sequence[TrainerCallback] = ()
    batch: int = 8
    optimizer: Callable[[nn.Module, TrainingArguments], tuple] | None = None
    evaluates: bool = False
    evaluated: Any = None


def network(bench: Bench) -> transformers.PreTrainedModel:
    """A small residual network for pictures of 32 pixels."""
    torch.manual_seed(0)
    if bench.reduced:
        return tiny.TRANSFORMERS["resnet"]()[0]
    config = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[1, 1, 1, 1], layer_type="basic", num_labels=CLASSES
    )
    return transformers.ResNetForImageClassification(config)


def pictures(bench: Bench, *, seed: int = 0, shift: float = 0.0, labels: bool = True) -> list[dict[str, Any]]:
    """Rows whose class a pattern tells, but for a quarter of them, which keeps gradients large."""
    count = bench.given(256, 16)
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    classes = torch.randint(CLASSES, (count,), generator=draw)
    images = 0.5 * torch.randn(count, 3, 32, 32, generator=draw) + 0.5 * patterns[classes] + shift
    said = torch.where(torch.rand(count, generator=draw) < 0.25, (classes + 1) % CLASSES, classes)
    rows = zip(images, said.tolist(), strict=True)
    return [{"pixel_values": image, **({"labels": label} if labels else {})} for image, label in rows]


def batch_size(bench: Bench) -> int:
    """Rows of a step."""
    return bench.given(32, 8)


def tuned(bench: Bench, part: Callable[[nn.Module, list], TrainerCallback] | None = None, **given: Any) -> Training:
    """A classifier with a part beside it, made of the network and its rows."""
    model, rows = network(bench), pictures(bench)
    callbacks = [] if part is None else [part(copy.deepcopy(model), rows)]
    return Training(model, rows, callbacks=[LogScalars(), *callbacks], batch=batch_size(bench), evaluated=rows, **given)


def adapted(bench: Bench, method: str, more: Callable[..., TrainerCallback] | None = None) -> Training:
    """A method of adaptation on two domains."""
    source, target = pictures(bench), pictures(bench, seed=1, shift=0.5, labels=False)
    model = DomainAdversarialModel.from_classifier(
        network(bench), method=method, method_options=_OPTIONS.get(method, {})
    )
    callbacks = [AdversarialSchedule(), LogScalars(), *([MeanTeacher(0.9)] if method in _TAUGHT else [])]
    if method == "clusters":
        # Anew where gradients are compared, when all have the same weights.
        callbacks.append(PseudoLabels(target, default_collate, every=bench.steps.measured))
    return Training(
        model,
        DomainPairs(source, target, numbered=method == "clusters"),
        DomainCollator(default_collate),
        _with(callbacks, more and more(source, target, default_collate)),
        batch=batch_size(bench),
        evaluates=more is not None,
        evaluated=source,
    )


def without_source(bench: Bench, method: str) -> Training:
    """A method that has the target alone."""
    target = pictures(bench, seed=1, shift=0.5)
    model = DomainAdversarialModel.from_classifier(
        network(bench), method=method, method_options=_OPTIONS.get(method, {})
    )
    callbacks = [AdversarialSchedule(), LogScalars()]
    if method == "shot":
        # Anew where gradients are compared, when all have the same weights.
        callbacks.append(PseudoLabels(target, default_collate, every=bench.steps.measured))
    if method in _TAUGHT:
        callbacks.append(MeanTeacher(0.9))
    return Training(model, TargetRows(target), DomainCollator(default_collate), callbacks, batch=batch_size(bench))


def generalised(bench: Bench, method: str = "joint", more: Callable[..., TrainerCallback] | None = None) -> Training:
    """A method for several sources."""
    sources = SeveralSources({"one": pictures(bench), "two": pictures(bench, seed=1, shift=0.5)})
    collator = SourcesCollator(default_collate)
    model = SeveralSourcesModel.from_classifier(network(bench), sources=sources.names, method=method)
    return Training(
        model,
        sources,
        collator,
        _with([ReshuffleSources(), LogScalars()], more and more(sources, collator)),
        batch=batch_size(bench),
        evaluates=more is not None,
        evaluated=pictures(bench, seed=2),
    )


def balanced(bench: Bench, name: str | None = None, more: TrainerCallback | None = None) -> Training:
    """Two tasks on the same pictures, whose second names the classes otherwise, and a balancer."""
    rows = [{**row, "kind": row["labels"], "other": min(row["labels"], 1)} for row in pictures(bench)]
    tasks = {
        "kind": {"type": "classification", "num_labels": CLASSES},
        "other": {"type": "classification", "num_labels": 2},
    }
    model = MultiTaskModel.from_backbone(network(bench), tasks, seed=0)
    model.balancer = None if name is None else BALANCERS[name](list(tasks))
    pixels = [{name: value for name, value in row.items() if name != "labels"} for row in rows]
    data = MultiTaskDataset({"pictures": Source(pixels, {"kind": "kind", "other": "other"}, "default")})
    return Training(
        model,
        data,
        MultiTaskCollator({"default": default_collate}, model.config.tasks),
        _with([MultiTaskEpochs(), BalancingEpochs(), LogScalars()], more),
        batch=batch_size(bench),
    )


def headed(bench: Bench, kind: str) -> Training:
    """A task of one type, the same batch at every step."""
    rows, positions = batch_size(bench), 6
    trunk, inputs, labels = _HEADS[kind](bench, rows, positions)
    described = {"type": kind, "num_labels": CLASSES}
    if kind == "ctc":
        described = {"type": kind, "id2label": ["<blank>", "a", "b"]}
    model = MultiTaskModel.from_backbone(trunk, {"task": described}, seed=0)
    packed = {f"default__{name}": value for name, value in inputs.items()}
    packed |= {"task__rows": torch.arange(rows), "task__labels": labels}
    return Training(model, [packed] * 64, _only, [LogScalars()], batch=1)


def unseen(bench: Bench, method: str) -> Training:
    """A method of zero-shot learning, trained through the network, with a class that no row shows."""
    model = network(bench)
    width = bench.given(512, 16)
    columns = {"joint": width, "joint_mix": width + 4}.get(method, 4)
    values = torch.rand(CLASSES + 1, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = values.round() if columns == 4 else values
    values[:, :4] = torch.eye(4, dtype=torch.float64)
    names = [f"class {number}" for number in range(CLASSES + 1)]
    table = AttributeTable(tuple(names), tuple(f"attribute {n}" for n in range(columns)), values.numpy())
    found = ZeroShotModel.from_backbone(model, table, seen=names[:CLASSES], method=method, seed=0)
    return Training(found, pictures(bench), callbacks=[LogScalars()], batch=batch_size(bench))


def _with(callbacks: list[TrainerCallback], more: TrainerCallback | None) -> list[TrainerCallback]:
    """With one more, in the place of another of its kind."""
    return callbacks if more is None else [*(c for c in callbacks if type(c) is not type(more)), more]


def _only(rows: list) -> Mapping[str, Any]:
    return rows[0]


def _classes(rows: int, *shape: int) -> Tensor:
    return torch.randint(CLASSES, (rows, *shape), generator=torch.Generator().manual_seed(2))


def _still(model: nn.Module) -> nn.Module:
    """Without noise, which other kinds of numbers would draw otherwise."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for name in ("hidden_dropout", "attention_dropout", "layerdrop", "mask_time_prob", "feat_proj_dropout"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    return model


def _images(bench: Bench, rows: int) -> tuple[nn.Module, dict[str, Tensor]]:
    images = torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return network(bench), {"pixel_values": images}


def _texts(rows: int, positions: int) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    words = torch.randint(3, 40, (rows, positions), generator=torch.Generator().manual_seed(1))
    return _still(tiny.TRANSFORMERS["bert"]()[0]), {"input_ids": words, "attention_mask": torch.ones_like(words)}


def _sounds(rows: int) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    return _still(tiny.TRANSFORMERS["wav2vec2_stable"]()[0]), tiny.waves(rows)


_HEADS: Mapping[str, Callable[[Bench, int, int], tuple[nn.Module, dict[str, Tensor], Tensor]]] = {
    "classification": lambda bench, rows, _: (*_images(bench, rows), _classes(rows)),
    "multi_label": lambda bench, rows, _: (*_images(bench, rows), _classes(rows, CLASSES).clamp(max=1).float()),
    "regression": lambda bench, rows, _: (*_images(bench, rows), _classes(rows, CLASSES).float()),
    "token_classification": lambda bench, rows, positions: (*_texts(rows, positions), _classes(rows, positions)),
    "ctc": lambda bench, rows, _: (*_sounds(rows), torch.tensor([[1, 2]] * rows)),
}
