"""A plan for a network and a dataset, from measurements that cost a fraction of one run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import fit_window, load_model, load_processor, modality_of
from hf_transfer_kit.backbones.windows import check_window
from hf_transfer_kit.data import PreparedData, load_data, prepare_data
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.features.layer_output import learn_inputs
from hf_transfer_kit.selection.advice.cases import (
    BASE,
    Experience,
    Settings,
    evaluated,
    measured_experience,
    strategies_of,
)
from hf_transfer_kit.selection.advice.measuring import few_training_rows, measure_case
from hf_transfer_kit.selection.advice.outlook import expectation
from hf_transfer_kit.selection.advice.planning import (
    near_cases,
    quadrant,
    quadrant_name,
    reasons,
    run_settings,
    trial_reasons,
    would_change,
)
from hf_transfer_kit.selection.advice.trials import run_trials, trial_steps
from hf_transfer_kit.selection.contest.budget import Budget, default_steps
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.finetuning.caching import PrefixCaches
from hf_transfer_kit.selection.finetuning.race import validate_strategies
from hf_transfer_kit.selection.measures.distances import domain_distance
from hf_transfer_kit.selection.strategies.specification import make_strategy
from hf_transfer_kit.values import DomainDistance, Recommendation, Trials

_BATCH_SIZE = 32


@checked_arguments()
def recommend(
    model: PreTrainedModel | str | Path,
    dataset: PreparedData | str | Path,
    *,
    budget: Budget | None = None,
    source: PreparedData | None = None,
    unlabelled_rows: int = 0,
    experience: Experience | None = None,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    trials: bool = False,
    args: TrainingArguments | None = None,
    store: RunStore | None = None,
    **preparation: Any,
) -> Recommendation:
    """Size, likeness to the source and what more labels bring are measured; what won in measured cases says what to do.

    Measuring takes two passes over some training rows, with the pretrained and with random weights, and ridge probes;
    validation and test rows are not read. Advice is the strategy with the highest expected accuracy among those of the
    measured grid (``measured_experience()``) that fit the model; the grid's evaluation on families of datasets left out
    goes with it. With ``trials`` the likeliest strategies are run for a fifth of what racing all would take, and what
    they give on validation rows is joined with the expectation, each by its precision.

    Args:
        model: A classifier, or a name for ``load_model``.
        dataset: Prepared splits, or a name for ``load_data``.
        budget: What a run may spend; None is the scripts' default.
        source: The data the network was trained on, prepared alike: its distance becomes a reason.
        unlabelled_rows: Further rows of the target without labels.
        experience: Other cases than those that come with the package.
        batch_size: Rows a forward of measuring.
        seed: Of rows, folds and random weights.
        cache_dir: Where features are kept; None for the usual place.
        trials: Whether strategies are tried.
        args: Of the trials, for the stock Trainer; None for its defaults.
        store: Where trials that ended are kept and taken from; None keeps none.
        **preparation: Where ``dataset`` is a name, passed to ``prepare_data``.

    Raises:
        SettingsError: When the task is no classification, a model is given with the name of a dataset and the network's
            processor is not known, or strategies are to be tried and cannot.
        DataError: When the training rows hold one class, or one row a class.

    Example:
        >>> plan = recommend(model, data)
        >>> plan.strategy in STRATEGIES
        True
    """
    if not trials and (args is not None or store is not None):
        raise SettingsError("args and store are of trials: give trials=True with them, or leave them out.")
    network, data = _loaded(model, dataset, seed=seed, preparation=preparation)
    if data.task_type != CLASSIFICATION:
        raise SettingsError(
            f"Advice rests on measured cases of classification, and this is a task of {data.task_type}. Compare its "
            "strategies with compare_strategies (hf-transfer run)."
        )
    rows = min(_BATCH_SIZE, len(data.train))
    budget = budget or Budget(default_steps(len(data.train), rows, data.modality), rows)
    experience = experience or measured_experience()
    settings, cases = experience.settings, experience.cases
    fitting, misfits = _fitting(strategies_of(cases), network, data)
    if trials:
        _check_trials(settings, budget, fitting, data)
    measures = measure_case(network, data, budget, batch_size=batch_size, seed=seed, cache_dir=cache_dir)
    after = expectation(measures, cases, settings.strength).among(fitting)
    why = (*reasons(measures, after.outlook(), cases, settings), *misfits)
    tried: Trials | None = None
    if trials:
        after, tried = run_trials(
            after,
            lambda seed: copy.deepcopy(network),
            data,
            args,
            budget,
            warmup_steps=run_settings(BASE, budget, data.modality)["warmup_steps"],
            trial_error=cast(float, settings.trial_error),
            seed=seed,
            store=store,
            caches=PrefixCaches(data, batch_size=batch_size, cache_dir=cache_dir),
        )
        why = (*why, *trial_reasons(tried, after.outlook()))
    if source is not None:
        why = (*why, _distance_sentence(network, data, source, batch_size=batch_size, seed=seed, cache_dir=cache_dir))
    found = after.outlook()
    near = near_cases(measures, cases)
    return Recommendation(
        strategy=found[0].strategy,
        quadrant=quadrant_name(*quadrant(measures, settings)),
        plan=run_settings(found[0].strategy, budget, data.reads),
        reasons=why,
        confidence=evaluated(experience, trials=trials).get("within_a_point"),
        would_change=would_change(measures, found, settings, unlabelled_rows=unlabelled_rows, tried=trials),
        outlook=found,
        measures=measures,
        near_cases=tuple(
            {
                "source": case.source,
                "target": case.target,
                "rows": case.measures.rows,
                "won": case.best,
                **{strategy: round(case.mean(strategy), 4) for strategy in case.accuracy},
            }
            for case in near
        ),
        trials=tried,
    )


def _fitting(
    strategies: Sequence[str], network: PreTrainedModel, data: PreparedData
) -> tuple[list[str], tuple[str, ...]]:
    """The strategies that fit the model, and a sentence for each that does not."""
    learn_inputs(network, lambda: data.collator([data.train[0]]))
    fitting, misfits = [], []
    for name in strategies:
        try:
            validate_strategies([make_strategy(name)], network, data)
        except SettingsError as error:
            misfits.append(f"{name} is left out, because it does not fit: {error}")
        else:
            fitting.append(name)
    return fitting, tuple(misfits)


def _check_trials(settings: Settings, budget: Budget, strategies: Sequence[str], data: PreparedData) -> None:
    """Refuses trials that cannot be made or would tell nothing, before anything is measured."""
    if settings.trial_error is None:
        raise SettingsError(
            "The measured cases hold no validation rows, so that what a trial is worth is not known. Fit cases that do "
            "(scripts/benchmarks/advisor_fit.py), or leave the trials out."
        )
    if len(data.validation) == 0:
        raise SettingsError(
            "There are no validation rows, by which trials are judged: hold some out, or leave trials out."
        )
    trial_steps(budget, len(strategies))


def _loaded(
    model: PreTrainedModel | str | Path, dataset: PreparedData | str | Path, *, seed: int, preparation: dict[str, Any]
) -> tuple[PreTrainedModel, PreparedData]:
    named, name = not isinstance(model, PreTrainedModel), cast(str, model)
    if isinstance(dataset, PreparedData):
        if preparation:
            raise SettingsError(f"{', '.join(preparation)}: for a dataset given by name; this one is prepared already.")
        ids = dict(enumerate(dataset.label_names))
        if not named:
            check_window(cast(PreTrainedModel, model), dataset.processor)
            return cast(PreTrainedModel, model), dataset
        return fit_window(load_model(name, id2label=ids, seed=seed), dataset.processor), dataset
    if not named:
        raise SettingsError(
            "A model that is loaded does not say how its inputs are prepared: give what prepare_data returned as the "
            "dataset, or the model's name."
        )
    loaded = load_data(dataset, seed=seed)
    network = load_model(name, id2label=dict(enumerate(loaded.label_names)), seed=seed)
    data = prepare_data(loaded, load_processor(name, modality_of(network)), **preparation)
    return fit_window(network, data.processor), data


def _distance_sentence(
    network: PreTrainedModel,
    data: PreparedData,
    source: PreparedData,
    *,
    batch_size: int,
    seed: int,
    cache_dir: str | Path | None,
) -> str:
    """How far the target's features lie from the source's."""
    features = [
        cache_features(
            network,
            few_training_rows(rows, 500, seed=seed)[0],
            collator=rows.collator,
            batch_size=batch_size,
            cache_dir=cache_dir,
            progress=False,
        )
        for rows in (source, data)
    ]
    return cast(DomainDistance, domain_distance(*features, seed=seed)).sentence
