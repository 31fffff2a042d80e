"""transferability: features or a model, what is left out and why, and bad input."""

import numpy as np
import pytest
import tiny
import torch
from snapshots import labelled_rows

from hf_transfer_kit import cache_features, transferability
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection.measures.transferability import NAMES


def rows(count=40, width=6, classes=2):
    labels = np.arange(count) % classes
    return np.random.default_rng(0).normal(size=(count, width)) + labels[:, None], labels


def test_all_scores_of_features_and_source_probabilities():
    features, labels = rows()
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), size=40)
    found = transferability(features, labels, source_probabilities=torch.from_numpy(probabilities), draws=4)
    assert set(found.scores) == set(NAMES)
    assert not found.left_out
    assert (found.rows, found.classes, found.width) == (40, 2, 6)
    assert all(np.isfinite(score.value) and score.error >= 0 for score in found.scores.values())
    assert found["probe_accuracy"] == found.scores["probe_accuracy"].value > 0.7


def test_without_source_classes_leep_and_nce_say_what_is_missing():
    found = transferability(*rows(), draws=0)
    assert set(found.left_out) == {"leep", "nce"}
    assert "no probabilities" in found.left_out["leep"]
    assert all(score.error is None for score in found.scores.values())


def test_one_row_a_class_but_one_leaves_no_folds_and_no_errors():
    features, labels = rows(6, classes=6)
    labels[5] = 0
    found = transferability(features, labels)
    assert {"log_me", "h_score", "trans_rate"} <= set(found.scores)


def test_a_model_gives_its_features_and_its_old_classes(tmp_path):
    model = tiny.TRANSFORMERS["resnet"]()[0].eval()
    data = labelled_rows(tiny.images(rows=16), count=16)
    found = transferability(model, dataset=data, draws=0, cache_dir=tmp_path, progress=False)
    cached = cache_features(model, data, cache_dir=tmp_path, progress=False)
    assert found["log_me"] == transferability(cached, draws=0)["log_me"]
    assert not found.left_out


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": np.zeros(40, int)}, DataError, "two classes or more"),
        ({"labels": np.arange(40)}, DataError, "more rows than classes"),
        ({"features_or_model": np.full((40, 6), np.nan)}, DataError, "not finite"),
        ({"labels": None}, DataError, "has no labels"),
        ({"scores": ["luck"]}, SettingsError, "'luck'.*log_me"),
        ({"draws": 1}, SettingsError, "draws=1"),
        ({"source_probabilities": np.ones((40, 3))}, DataError, "sum to 1"),
        ({"source_probabilities": np.ones((3, 3)) / 3}, DataError, r"\(40, source classes\)"),
        ({"dataset": [1]}, SettingsError, "belong to a model"),
        ({"features_or_model": torch.nn.Linear(2, 2)}, SettingsError, "give dataset="),
    ],
)
def test_bad_input_is_a_sentence(change, error, words):
    features, labels = rows()
    with pytest.raises(error, match=words):
        transferability(**{"features_or_model": features, "labels": labels, **change})
