"""Features of rows with the names of their classes: of a frozen network, or of one trained on the seen classes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.data import SPLITS, PreparedData
from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.selection.contest.candidate import Candidate
from hf_transfer_kit.selection.contest.contest import Contest
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import shared_batches
from hf_transfer_kit.selection.contest.store import RunStore, data_key, model_key
from hf_transfer_kit.tuning.all_rows import Part
from hf_transfer_kit.values import MapRows
from hf_transfer_kit.zero_shot import AttributeTable, HoldOut, ZeroShotModel


@dataclass(frozen=True, eq=False)
class NamedRows:
    """Features (N, D), float64, and the name of each row's class.

    Example:
        >>> rows = NamedRows(torch.zeros(2, 16, dtype=torch.float64), ("horse", "gull"))
        >>> rows.places(["gull", "horse"])
        tensor([1, 0])
    """

    features: Tensor
    names: tuple[str, ...]

    def of(self, classes: Sequence[str]) -> NamedRows:
        """The rows of these classes."""
        wanted = set(classes)
        kept = [index for index, name in enumerate(self.names) if name in wanted]
        return NamedRows(self.features[kept], tuple(self.names[index] for index in kept))

    def places(self, classes: Sequence[str]) -> Tensor:
        """Place of each row's class among these, int64 (N,).

        Raises:
            DataError: When a row's class is none of them.
        """
        place = {name: index for index, name in enumerate(classes)}
        if unknown := sorted(set(self.names) - set(place)):
            raise DataError(f"Rows show {', '.join(unknown)}, which the classes {', '.join(classes)} do not have.")
        return torch.tensor([place[name] for name in self.names], dtype=torch.long)


@dataclass(frozen=True, eq=False)
class SplitFeatures:
    """What one split of the classes is judged with.

    Args:
        model: Whose network gave the features.
        train: Rows to learn from; those of unseen classes are dropped before anything is learned.
        test: Rows of all classes for the final figures.

    Example:
        >>> rows = NamedRows(torch.zeros(2, 16, dtype=torch.float64), ("horse", "gull"))
        >>> network = ZeroShotModel.from_backbone(model, table)
        >>> SplitFeatures(network, train=rows, test=rows).train.names
        ('horse', 'gull')
    """

    model: ZeroShotModel
    train: NamedRows
    test: NamedRows


@dataclass(frozen=True, eq=False)
class FeatureMaker:
    """Gives the features of each split, and says what they depend on, so that what was found with them can be kept.

    Args:
        make: Place of a split and the split -> its features.
        facts: What all of them depend on: ``data`` and ``weights``, and further plain values.
        finished: Called with the first split and its place when no other's network is wanted any more.
    """

    make: Callable[[int, HoldOut], SplitFeatures]
    facts: Callable[[], Mapping[str, Any]]
    finished: Callable[[int, HoldOut], object] = lambda index, split: None

    def __call__(self, index: int, split: HoldOut) -> SplitFeatures:
        return self.make(index, split)


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """A network trained on the seen classes of one split, as a run of a contest.

    Args:
        seed: Of the run.
        model: The network; None where its weights are kept no more.
        steps: Optimizer steps.
        seconds: Wall time of training.
    """

    seed: int
    model: ZeroShotModel | None
    steps: int
    seconds: float
    figures: ClassVar[Mapping[str, Mapping[str, float]]] = {}


def frozen_features(
    network: PreTrainedModel,
    data: PreparedData,
    table: AttributeTable,
    *,
    batch_size: int = 32,
    cache_dir: str | None = None,
) -> FeatureMaker:
    """The network as a fixed feature extractor: one pass for all splits.

    Args:
        network: A pretrained classifier, which loses its head.
        data: Its rows; training and validation rows are learned from.
        table: Describes all classes.
        batch_size: Rows of a forward.
        cache_dir: Where features are kept; None is the library's own place.

    Example:
        >>> from hf_transfer_kit.zero_shot import digit_strokes, hold_out
        >>> make = frozen_features(model, prepare_data(loaded, processor), digit_strokes(), cache_dir="cache")
        >>> make(0, hold_out(loaded.label_names, ["3", "8"])).train.features.shape[1]
        16
    """

    @cache
    def facts() -> dict[str, Any]:
        return {"data": data_key(data), "weights": model_key(network), "network": ["frozen", batch_size]}

    @cache
    def found() -> SplitFeatures:
        model = ZeroShotModel.from_backbone(network, table).eval()
        parts = {
            split: cache_features(
                model.network,
                getattr(data, split),
                collator=data.collator,
                batch_size=batch_size,
                cache_dir=cache_dir,
                progress=False,
            ).features
            for split in SPLITS
        }
        both = torch.from_numpy(np.concatenate([parts["train"], parts["validation"]])).to(torch.float64)
        test = torch.from_numpy(parts["test"]).to(torch.float64)
        return SplitFeatures(
            model, NamedRows(both, _names(data, "train", "validation")), NamedRows(test, _names(data, "test"))
        )

    return FeatureMaker(lambda index, split: found(), facts)


def trained_features(
    make_network: Callable[[int], PreTrainedModel],
    data: PreparedData,
    table: AttributeTable,
    args: TrainingArguments,
    *,
    method: str,
    balanced: bool = False,
    callbacks: Callable[[str], Sequence[TrainerCallback]] | None = None,
    store: RunStore | None = None,
    batch_size: int | None = None,
) -> FeatureMaker:
    """A network of its own for each split, trained by the stock Trainer on the seen classes before it is asked.

    Args:
        make_network: Seed -> network to begin with.
        data: Rows; of training rows those of unseen classes are dropped before training.
        table: Describes all classes.
        args: For the Trainer; its output folder is not written to.
        method: Whose loss teaches the network.
        balanced: Whether rows of small classes are trained on several times, so that all have as many.
        callbacks: Title -> callbacks of that run, such as ``FreezeLayers`` or ``L2SP``.
        store: Where trained networks are kept and taken from; None keeps none.
        batch_size: Rows a step, over all processes and accumulated batches; None: what ``args`` make of it.

    A network whose loss is not finite any more ends all of it with a ``NotFiniteError``: there are no features then.

    Example:
        >>> from hf_transfer_kit.zero_shot import digit_strokes
        >>> prepared = prepare_data(loaded, processor)
        >>> make = trained_features(lambda seed: model, prepared, digit_strokes(), args, method="ale")
        >>> callable(make)  # make(0, hold_out(loaded.label_names, ["3", "8"])) trains a network
        True
    """
    both: ConcatDataset[Any] = ConcatDataset([cast(Dataset, rows) for rows in (data.train, data.validation)])
    names = _names(data, "train", "validation")

    @cache
    def facts() -> dict[str, Any]:
        return {
            "data": data_key(data),
            "weights": model_key(make_network(args.seed)),
            "network": {
                "method": method,
                "table": data_key(table.classes, table.attributes, table.values),
                "balanced": balanced,
                "first_seed": args.seed,
                "batch_size": batch_size,
                "spent": [args.max_steps, args.num_train_epochs, args.learning_rate],
            },
        }

    contest = Contest(NetworkRun, args, None, store, facts=facts)

    def begun(split: HoldOut, seed: int) -> ZeroShotModel:
        return ZeroShotModel.from_backbone(make_network(seed), table, seen=split.seen, method=method, seed=seed)

    def train(index: int, split: HoldOut, seed: int) -> NetworkRun:
        model = begun(split, seed)
        shown = [row for row, name in enumerate(names) if name in split.seen]
        split.check_no_leak(names[row] for row in shown)
        taken = shown
        if balanced:
            classes = np.array([table.classes.index(names[row]) for row in shown])
            taken = np.array(shown)[balanced_places(classes, seed=seed)].tolist()
        settings = copy.deepcopy(args)
        settings.seed, settings.save_strategy, settings.eval_strategy = seed, "no", "no"
        settings.push_to_hub, settings.logging_nan_inf_filter = False, False
        rows_a_step = batch_size or args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        settings.num_train_epochs = settings.num_train_epochs or 3.0  # Trainer wants a number beside max_steps
        trainer = Trainer(
            model,
            settings,
            train_dataset=_Placed(both, taken, [table.classes.index(names[row]) for row in taken]),
            data_collator=data.collator,
            callbacks=[
                shared_batches(settings, rows_a_step),
                StopNotFinite(),
                *(callbacks(f"split {index + 1}") if callbacks else ()),
            ],
        )
        started = time.perf_counter()
        trainer.train()
        return NetworkRun(seed, model, trainer.state.global_step, time.perf_counter() - started)

    def named(index: int, split: HoldOut) -> tuple[str, int]:
        return f"network of split {index + 1}, without {', '.join(split.unseen)}", args.seed + index

    def make(index: int, split: HoldOut) -> SplitFeatures:
        name, seed = named(index, split)
        seen = {"seen": list(split.seen)}
        candidate = Candidate(name, partial(train, index, split), partial(begun, split), seen)
        run = contest.whole(candidate, seed, contest.run(candidate, seed))
        model = cast(ZeroShotModel, run.model)
        cast(nn.Module, model).to(args.device).eval()
        train_rows, test = (_features(model, part, data, args.per_device_eval_batch_size) for part in (both, data.test))
        return SplitFeatures(model, NamedRows(train_rows, names), NamedRows(test, _names(data, "test")))

    return FeatureMaker(make, facts, lambda index, split: contest.finished(named(index, split)))


class _Placed(Dataset):
    """Rows of a dataset with other labels: places in the table in place of those among the data's classes."""

    def __init__(self, rows: Dataset, shown: Sequence[int], places: Sequence[int]) -> None:
        self.rows, self.shown, self.places = rows, shown, places

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.rows[self.shown[index]], "labels": self.places[index]}


def _names(data: PreparedData, *splits: str) -> tuple[str, ...]:
    """Name of each row's class."""
    return tuple(data.label_names[place] for split in splits for place in getattr(data, split).classes)


@torch.no_grad()
def _features(model: ZeroShotModel, part: MapRows, data: PreparedData, batch_size: int) -> Tensor:
    found, own = [], Part(len(part), together=True)
    for places in own.batches(batch_size):
        batch = data.collator([part[row] for row in places])
        inputs = {name: value.to(model.device) for name, value in batch.items() if name != "labels"}
        found.append(model.features(**inputs))
    return own.whole(torch.cat(found)).to("cpu", torch.float64)
