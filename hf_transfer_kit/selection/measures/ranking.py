"""Which pretrained network suits a dataset best, before any fine-tuning."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import fit_window, load_model, load_processor, modality_of
from hf_transfer_kit.backbones.fresh_networks import FRESH_NETWORKS, fresh_processor
from hf_transfer_kit.data import LoadedData, load_data, prepare_data
from hf_transfer_kit.errors import DataError, SettingsError, TransferKitError, first_line
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection.advice.measuring import stratified_rows
from hf_transfer_kit.selection.finetuning.running import to_channels_last
from hf_transfer_kit.selection.measures.scores import FEATURE_SCORES
from hf_transfer_kit.selection.measures.transferability import NAMES, transferability
from hf_transfer_kit.values import RankedSource, Score, SourceRanking

DEFAULT_SCORE = "knn_accuracy"
"""The score that agreed best with fine-tuning over eight networks, then over twelve, and six datasets (model cards)."""
_DRAWS = 2_000


@checked_arguments()
def rank_sources(
    checkpoints: Sequence[str | Path],
    dataset: str | Path | LoadedData,
    *,
    by: str = DEFAULT_SCORE,
    scores: Sequence[str] = NAMES,
    max_rows: int = 1_000,
    draws: int = 10,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    trust_remote_code: bool = False,
    on_source: Callable[[RankedSource], None] | None = None,
    **preparation: Any,
) -> SourceRanking:
    """Candidates from best to worst by a transferability score on labelled training rows.

    Each is loaded in turn, gives the features of at most ``max_rows`` rows in one pass, and is let go; nothing is
    trained but probes. Candidates that cannot be measured are left out with the reason. How sure the order is, is told
    by ``first_share``: the share of draws from the scores' errors in which a candidate comes first.

    Args:
        checkpoints: Hub names, folders, ``timm/NAME``, or names of small networks with random weights; none twice.
        dataset: A name or folder for ``load_data``, or what it gave.
        by: Score to rank by; a candidate without it is left out.
        scores: Which to compute beside it.
        max_rows: Rows to measure on, stratified.
        draws: Random halves for the errors; 0 for none.
        batch_size: Rows a forward.
        seed: Of rows, folds, halves and random weights.
        cache_dir: Where features are kept; None for the usual place.
        trust_remote_code: Run code that comes with a Hub model.
        on_source: Called with each candidate when it is measured.
        **preparation: Passed to ``prepare_data``, such as ``image_size`` and ``max_length``.

    Raises:
        SettingsError: When there is no candidate, one is named twice, or a score is unknown.
        DataError: When the dataset has one class, or no candidate could be measured; each with its reason.

    Example:
        >>> ranking = rank_sources(["dann_mnist", "small_resnet"], loaded, scores=[], draws=2)
        >>> sorted(source.name for source in ranking.sources)
        ['dann_mnist', 'small_resnet']
    """
    names = [str(checkpoint) for checkpoint in checkpoints]
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"checkpoints={names} must hold one candidate or more, and none twice.")
    if by not in NAMES:
        raise SettingsError(f"by={by!r} is unknown; choose among {', '.join(NAMES)}.{did_you_mean(by, NAMES)}")
    if unknown := [name for name in scores if name not in NAMES]:
        raise SettingsError(
            f"scores={unknown} are unknown; choose among {', '.join(NAMES)}.{did_you_mean(unknown[0], NAMES)}"
        )
    if max_rows < 2:
        raise SettingsError(f"max_rows={max_rows} is too few to score; give hundreds.")
    data = _few_rows(dataset if isinstance(dataset, LoadedData) else load_data(dataset, seed=seed), max_rows, seed=seed)
    wanted = tuple(dict.fromkeys([by, *scores]))
    found, skipped = [], {}
    for name in names:
        started = time.perf_counter()
        try:
            model, processor, has_head = _candidate(name, data, seed=seed, trust_remote_code=trust_remote_code)
            prepared = prepare_data(data, processor, **preparation)
            to_channels_last(fit_window(model, prepared.processor), prepared)
            measured = transferability(
                model,
                dataset=prepared.train,
                collator=prepared.collator,
                # A head that was never trained has no source classes.
                scores=wanted if has_head else [score for score in wanted if score in FEATURE_SCORES],
                draws=draws,
                seed=seed,
                batch_size=batch_size,
                cache_dir=cache_dir,
                progress=False,
            )
            if by not in measured.scores:
                raise DataError(measured.left_out.get(by, f"it has no classes of its own, which {by} reads"))
        except (TransferKitError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            # Whatever ails one candidate, the others are to be ranked.
            skipped[name] = first_line(error)
            continue
        source = RankedSource(
            name=name,
            score=measured.scores[by],
            scores=measured.scores,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            width=measured.width,
            seconds=time.perf_counter() - started,
            first_share=0.0,
        )
        found.append(source)
        del model
        gc.collect()
        if on_source:
            on_source(source)
    if not found:
        reasons = " ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise DataError(f"None of the candidates could be measured on {data.name}. {reasons}")
    return SourceRanking(by, data.name, len(data.train), _ranked(found, seed=seed), skipped)


def _candidate(
    name: str, data: LoadedData, *, seed: int, trust_remote_code: bool
) -> tuple[PreTrainedModel, object, bool]:
    """A network with the head it came with, its processor, and whether that head was trained."""
    if name in FRESH_NETWORKS:
        return load_model(name, num_labels=len(data.label_names), seed=seed), fresh_processor(name), False
    model = load_model(name, trust_remote_code=trust_remote_code, seed=seed)
    reads = modality_of(model)
    if reads != data.modality and (data.modality, reads) != ("audio", "image"):
        raise DataError(f"it reads {reads}, but {data.name} holds {data.modality}")
    config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    trained = any("Classification" in architecture for architecture in config.architectures or ())
    return model, load_processor(name, reads), trained


def _few_rows(data: LoadedData, most: int, *, seed: int) -> LoadedData:
    """The training rows to measure on, and of the other splits no more than preparation needs."""
    labels = np.asarray(data.train[data.label_column])
    if len(np.unique(labels)) < 2:
        raise DataError(f"All training rows of {data.name} are of one class; sources cannot be told apart by that.")
    return replace(
        data,
        train=data.train.select(stratified_rows(labels, most, seed=seed)),
        validation=data.validation.select(range(1)),
        test=data.test.select(range(1)),
    )


def _ranked(sources: Sequence[RankedSource], *, seed: int) -> tuple[RankedSource, ...]:
    """Best first, each with the share of draws in which it is best."""
    generator = np.random.default_rng(seed)
    values, errors = np.array([_value_and_error(source.score) for source in sources]).T
    drawn = values + errors * generator.normal(size=(_DRAWS, len(sources)))
    shares = np.bincount(drawn.argmax(1), minlength=len(sources)) / _DRAWS
    with_shares = [replace(source, first_share=float(share)) for source, share in zip(sources, shares, strict=True)]
    return tuple(sorted(with_shares, key=lambda source: -source.score.value))


def _value_and_error(score: Score) -> tuple[float, float]:
    return score.value, score.error or 0.0


def summary_of(ranking: SourceRanking) -> Mapping[str, Any]:
    """The ranking as plain values, for a report."""
    return {
        "by": ranking.by,
        "dataset": ranking.dataset,
        "rows": ranking.rows,
        "sources": [
            {
                "name": source.name,
                "score": source.score.value,
                "error": source.score.error,
                "first_share": source.first_share,
                "parameters": source.parameters,
                "seconds": round(source.seconds, 2),
                "scores": {name: score.value for name, score in source.scores.items()},
            }
            for source in ranking.sources
        ],
        "skipped": dict(ranking.skipped),
    }
