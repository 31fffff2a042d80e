"""Rows of classes that were never taught: ranked, given up at a price that is known, and judged."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from hf_transfer_kit.adaptation.rejection import (
    UNKNOWN_SCORES,
    Rejection,
    choose_rejection,
    open_set_metrics,
)
from hf_transfer_kit.errors import DataError, SettingsError


def logits(rows, sure, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, 4)) + sure * np.eye(4)[generator.integers(4, size=rows)]


def test_scores_are_their_formulas():
    given = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    probabilities = given.softmax(1)
    expected = {
        "entropy": -(probabilities * probabilities.log()).sum(1),
        "energy": -given.logsumexp(1),
        "confidence": -probabilities.max(1).values,
    }
    assert set(expected) == set(UNKNOWN_SCORES)
    for name, values in expected.items():
        assert np.allclose(Rejection(name, 0.0).scores(given.half()), values, atol=2e-3)
        assert Rejection(name, 0.0).scores(given)[1] > Rejection(name, 0.0).scores(given)[0]
    huge = np.array([[1e5, -1e5, 0.0]])
    assert all(np.isfinite(score(huge)).all() for score in UNKNOWN_SCORES.values())


def test_the_threshold_gives_up_the_same_share_of_the_kept_networks_rows():
    """Its scores have another scale than those of the network that chose: a threshold itself would not carry over."""
    taught, untaught = logits(2000, 6, seed=1), logits(1000, 1, seed=2)
    found = choose_rejection(3 * logits(4000, 6), taught, untaught)
    assert found.auroc > 0.9
    ranked = found.rejection.scores(taught), found.rejection.scores(untaught)
    assert found.auroc == pytest.approx(roc_auc_score(np.repeat([0, 1], [2000, 1000]), np.concatenate(ranked)))
    assert 0 < found.rejected_known < 0.2
    assert found.rejected_unknown > 0.8
    cut = np.quantile(ranked[0], 1 - found.rejected_known)
    assert (ranked[1] > cut).mean() == pytest.approx(found.rejected_unknown, abs=0.02)


def test_figures_of_an_open_target():
    given = np.array([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [0.1, 0.0], [9.0, 0.0], [0.1, 0.0]])
    labels = [0, 1, 1, 0, 2, 3]  # right, right, wrong, right but rejected, unknown and kept, unknown and rejected
    found = open_set_metrics(given, labels, Rejection("entropy", 0.5))
    assert found["known_accuracy"] == pytest.approx(2 / 4)
    assert found["unknown_recall"] == pytest.approx(1 / 2)
    assert found["h_score"] == pytest.approx(0.5)
    assert found["rejected"] == pytest.approx(2 / 6)
    assert found["unknown_auroc"] == pytest.approx(roc_auc_score([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1]))


def test_what_cannot_be_told_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="choose 'entropy' or 'energy' or 'confidence'"):
        Rejection("norm", 0.0)
    with pytest.raises(DataError, match="row 1 are not finite"):
        Rejection("energy", 0.0)([[1.0, 2.0], [float("nan"), 0.0]])
    with pytest.raises(SettingsError, match=r"the shape \(2,\)"):
        Rejection("energy", 0.0)([1.0, 2.0])
    with pytest.raises(DataError, match="held out"):
        choose_rejection(logits(3, 1), logits(3, 1), np.empty((0, 4)))
    for labels in ([0, 1, 2], [4, 5, 4]):
        with pytest.raises(DataError, match="one kind alone"):
            open_set_metrics(logits(3, 1), labels, Rejection("entropy", 0.5))
    with pytest.raises(DataError, match="--open_target"):
        Rejection.load(tmp_path)
    Rejection("energy", -1.25).save(tmp_path)
    assert Rejection.load(tmp_path) == Rejection("energy", -1.25)
