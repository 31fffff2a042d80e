"""One run on several sources in the stock Trainer."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from torch.utils.data import ConcatDataset, Dataset
from transformers import EvalPrediction, PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_transfer_kit.adaptation import SWAD, ReshuffleSources, SeveralSources, SeveralSourcesModel, SourcesCollator
from hf_transfer_kit.data import PreparedData, UnionRows
from hf_transfer_kit.data.class_balance import classes_of
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.adapting.running import classifier_rates, fast_fresh_parts, tested_on
from hf_transfer_kit.selection.contest.budget import Budget
from hf_transfer_kit.selection.contest.flattening import OF_ACCURACY, STEPS, UntilFlat, logged_looks
from hf_transfer_kit.selection.contest.not_finite import StopNotFinite
from hf_transfer_kit.selection.contest.run_settings import run_settings, shared_batches
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.generalising.checkpoint_selection import KeepBestOnSources
from hf_transfer_kit.selection.generalising.methods import GeneralisationMethod
from hf_transfer_kit.tuning import LearnedRates, LogScalars
from hf_transfer_kit.values import KnownRows

LAST = "last"
"""The weights at the end are kept."""
ACCURACY = "accuracy"
_LOSS = "balanced_loss"


@dataclass(frozen=True, eq=False)
class Sources:
    """Several labelled sources, prepared alike.

    Args:
        rows: Name -> its splits; ``balance`` of the first says how classes of different sizes are treated.
        pretrained: Whether networks begin with weights learned elsewhere.

    Raises:
        SettingsError: When there is none.
    """

    rows: Mapping[str, PreparedData]
    pretrained: bool = True

    def __post_init__(self) -> None:
        if not self.rows:
            raise SettingsError("There is no source. Give one or more, by name.")

    @property
    def first(self) -> PreparedData:
        """The one that the others were prepared like."""
        return next(iter(self.rows.values()))

    def without(self, name: str) -> Sources:
        """The others."""
        return Sources({other: rows for other, rows in self.rows.items() if other != name}, self.pretrained)

    def learning_rate(self, budget: Budget) -> float:
        """What every run learns with: the budget's rate, else the default for pretrained or for random weights."""
        return budget.rate(self.first.reads, "body" if self.pretrained else "scratch")


@dataclass(frozen=True, eq=False)
class GeneralisationRun:
    """What one run gave.

    Args:
        seed: Of weights, order and views.
        model: The classifier and its method, with the weights that were kept.
        validation: Source -> accuracy on its validation rows of those weights.
        log: Trainer's log.
        seconds: Wall time of training, its evaluations included.
        args: What its evaluations ran with.
        rates: Parameter's name in the classifier -> highest rate that it learned with; empty where that is not known.
        steps: That were done.
        ended: Why it ended (``UntilFlat``).
    """

    seed: int
    model: SeveralSourcesModel
    validation: Mapping[str, float]
    log: Sequence[Mapping[str, float]]
    seconds: float
    args: TrainingArguments
    rates: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    ended: str = STEPS

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> value."""
        return {"validation": {f"accuracy on {name}": value for name, value in self.validation.items()}}

    def tested(self, rows: PreparedData) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Metrics on the test rows of any domain, their classes, and what is predicted for them."""
        return tested_on(self.model, rows, rows.label_names, self.args, labelled=True)


def run_generalisation(
    method: GeneralisationMethod,
    make_model: Callable[[int], PreTrainedModel],
    sources: Sources,
    args: TrainingArguments,
    budget: Budget,
    *,
    seed: int,
    select: str = ACCURACY,
    callbacks: Sequence[TrainerCallback] = (),
) -> GeneralisationRun:
    """Trains one method on all of ``sources`` with one seed.

    Args:
        method: What to train.
        make_model: Seed -> classifier with a fresh head.
        sources: What is trained on; one or more.
        args: The user's arguments; the budget, the rate and the seed are written into a copy.
        budget: Steps, and rows of each source a step.
        seed: Of the head, the order of rows and the views.
        select: ``"accuracy"``: the weights with the best mean accuracy on validation rows of the sources are kept;
            ``"last"``. A method that averages weights keeps its average.
        callbacks: Further ones.

    Example:
        >>> run = run_generalisation(make_generalisation_method("joint"), make_model, sources, args, budget, seed=0)
        >>> sorted(run.validation)
        ['green', 'red']
    """
    first = sources.first
    learned = {
        name: first.balance.rows(rows.train, np.array(classes_of(rows.train)), seed=seed)
        for name, rows in sources.rows.items()
    }
    train = SeveralSources(learned, seed=seed)
    model = before_training(method, make_model, sources, seed)
    to_channels_last(model, first)
    every = [cast(KnownRows, rows.train) for rows in sources.rows.values()]
    classes = UnionRows(every).classes  # every source counts alike
    model.class_weights = first.balance.class_weights(classes, first.label_names)
    run_args = settings_of(method, sources, args, budget, seed)
    training_args = copy.copy(run_args)
    training_args.eval_strategy, training_args.eval_steps = "steps", budget.eval_steps
    keep: list[TrainerCallback] = []
    if method.average == "swad":
        keep = [SWAD(train, first.collator, metric=f"eval_{_LOSS}", **method.averaging)]
    elif select == ACCURACY:
        keep = [KeepBestOnSources(f"eval_{_LOSS}")]
    until = UntilFlat(budget, logged_looks("eval_accuracy"), ramp=0.0, least=OF_ACCURACY)
    trainer = Trainer(
        model,
        training_args,
        train_dataset=train,
        eval_dataset=ConcatDataset([cast(Dataset, rows.validation) for rows in sources.rows.values()]),
        data_collator=SourcesCollator(first.collator, change=method.change),
        compute_metrics=of_each_source({name: len(rows.validation) for name, rows in sources.rows.items()}),
        callbacks=[
            shared_batches(run_args, budget.batch_size),
            ReshuffleSources(),
            StopNotFinite(),
            LogScalars(),
            *keep,
            until,
            LearnedRates(),
            *callbacks,
        ],
        optimizer_cls_and_kwargs=fast_fresh_parts(model, run_args) if sources.pretrained else None,
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    metrics = trainer.evaluate()
    return GeneralisationRun(
        seed=seed,
        model=model,
        validation={name: metrics[f"eval_accuracy_{name}"] for name in sources.rows},
        log=trainer.state.log_history,
        seconds=seconds,
        args=run_args,
        rates=classifier_rates(trainer),
        steps=until.steps,
        ended=until.ended,
    )


def settings_of(
    method: GeneralisationMethod, sources: Sources, args: TrainingArguments, budget: Budget, seed: int
) -> TrainingArguments:
    """What a run's evaluations run with."""
    rate = sources.learning_rate(budget)
    return run_settings(
        args,
        name=method.name,
        max_steps=budget.max_steps,
        batch_size=budget.batch_size,
        learning_rate=rate,
        seed=seed,
    )


def before_training(
    method: GeneralisationMethod, make_model: Callable[[int], PreTrainedModel], sources: Sources, seed: int
) -> SeveralSourcesModel:
    """The classifier with the method beside it."""
    return SeveralSourcesModel.from_classifier(
        make_model(seed),
        sources=tuple(sources.rows),
        method=method.objective,
        method_options=method.options,
        batch_norm=method.batch_norm,
    )


def of_each_source(sizes: Mapping[str, int]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Metrics of validation rows of several sources, one after the other; in the means every source counts alike.

    Args:
        sizes: Source -> how many rows.
    """
    from scipy.special import logsumexp

    ends = np.cumsum(list(sizes.values()))[:-1]

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        labels = np.asarray(prediction.label_ids)
        logits = np.asarray(logits, dtype=np.float64)
        losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
        right = np.split(logits.argmax(1) == labels, ends)
        accuracies = {f"accuracy_{name}": float(part.mean()) for name, part in zip(sizes, right, strict=True)}
        return {
            "accuracy": float(np.mean(list(accuracies.values()))),
            _LOSS: float(np.mean([part.mean() for part in np.split(losses, ends)])),
            **accuracies,
        }

    return compute
