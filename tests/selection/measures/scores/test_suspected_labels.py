"""Labels that the other rows contradict are found; hard or hopeless data gives no list."""

import numpy as np
import pytest

from hf_transfer_kit.selection.measures.scores.leave_one_out import leave_one_out_scores
from hf_transfer_kit.selection.measures.scores.suspected_labels import suspected_rows


def clusters(spread=0.6, rows=120, classes=4, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return 3 * np.eye(classes, 16)[labels] + spread * draw.normal(size=(rows, 16)), labels


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_were_mislabelled_are_those_told(seed):
    features, labels = clusters(seed=seed)
    wrong = np.random.default_rng(seed).choice(len(labels), 8, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 4
    scores, index, _ = leave_one_out_scores(features, given)
    found = suspected_rows(scores, index)
    rows = [row for row, _, _ in found]
    assert len(set(rows) & set(wrong.tolist())) >= 6
    assert len(set(rows) - set(wrong.tolist())) <= 1
    assert all(likelier == labels[row] for row, likelier, _ in found if row in wrong)
    margins = [margin for _, _, margin in found]
    assert margins == sorted(margins, reverse=True)
    assert all(margin > 0 for margin in margins)


def test_clean_rows_and_features_that_tell_nothing_give_no_list():
    features, labels = clusters()
    scores, index, _ = leave_one_out_scores(features, labels)
    assert suspected_rows(scores, index) == []
    noise = np.random.default_rng(0).normal(size=features.shape)
    scores, index, _ = leave_one_out_scores(noise, labels)
    assert suspected_rows(scores, index) == []


def test_the_list_is_short_and_leaves_classes_of_two_rows_alone():
    features, labels = clusters(rows=400)
    given = labels.copy()
    given[:100] = (labels[:100] + 1) % 4
    scores, index, _ = leave_one_out_scores(features, given)
    assert len(suspected_rows(scores, index, most=20)) == 20
    few = np.concatenate([np.zeros(20), np.ones(20), [2, 2]]).astype(int)
    scores = -np.ones((42, 3))
    scores[np.arange(42), few] = 1
    scores[40:] = [1.0, -1.0, -1.0]
    assert suspected_rows(scores, few) == []
