"""Shallow alignment as a method among others: features of the frozen network, computed once."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
from transformers import EvalPrediction, PreTrainedModel

from hf_transfer_kit.adaptation import shallow_adaptation, target_scores
from hf_transfer_kit.adaptation.scores.domain_outputs import DomainOutputs
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.metrics import classification_metrics
from hf_transfer_kit.selection.adapting.methods import AdaptationMethod
from hf_transfer_kit.selection.adapting.running import Domains
from hf_transfer_kit.values import AdaptationResult


def run_shallow(
    method: AdaptationMethod,
    model: PreTrainedModel,
    domains: Domains,
    *,
    batch_size: int,
    seed: int = 0,
    cache_dir: str | None = None,
) -> tuple[AdaptationResult, np.ndarray]:
    """Aligns frozen features of the target's training and test rows with the source's, and predicts the test rows.

    Adaptation sees those rows without labels (it is transductive). Nothing in it is random but the folds that choose
    the regularisation, so there is one run.

    Args:
        method: ``shallow`` with its alignment.
        model: The network as it comes, whose pooled features are used.
        domains: Both domains.
        batch_size: Rows a forward.
        seed: Of the folds.
        cache_dir: Where features are kept; None is the library's own place.

    Returns:
        What was reached, and whether each test row's class was predicted, of shape (1, rows); without rows where they
        have no labels.
    """
    started = time.perf_counter()
    options = {"alignment": "coral", **method.options}
    kind = options.pop("alignment")
    source, train, test_rows = (
        cache_features(
            model, rows, collator=domains.source.collator, batch_size=batch_size, cache_dir=cache_dir, progress=False
        )
        for rows in (domains.source.train, domains.target.train, domains.target.test)
    )
    found = shallow_adaptation(
        source, np.concatenate([train.features, test_rows.features]), method=kind, seed=seed, **options
    )
    outputs = DomainOutputs(
        source_features=found.source,
        source_logits=found.probe.logits(found.source),
        source_labels=np.asarray(source.labels),
        target_features=found.target,
        target_logits=found.probe.logits(found.target),
    )
    # Of rows left out of the fit: on those that it learned from it is always right.
    left_out = found.probe.validation_accuracy or 0.0
    test: dict[str, float] = {}
    correct = np.empty((1, 0))
    if "test" in domains.labelled:
        classes = len(domains.source.label_names)
        said, true = found.predictions[-len(test_rows) :], cast(np.ndarray, domains.labels("test"))
        predictions, correct = np.eye(classes)[said], (said == true)[None]
        test = classification_metrics(domains.source.label_names)(EvalPrediction(predictions, true))
    result = AdaptationResult(
        method=method.text,
        summary=f"frozen features, aligned ({kind}), and a logistic regression",
        seeds=(seed,),
        source_accuracy=left_out,
        scores={**target_scores(outputs), "source_accuracy": left_out},
        test=test,
        test_spread=dict.fromkeys(test, 0.0),
        test_by_seed=(test["accuracy"],) if test else (),
        seconds=time.perf_counter() - started,
    )
    return result, correct
