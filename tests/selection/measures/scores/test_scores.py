"""Transferability scores against independent, slow computations, and what must not change them."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from hf_transfer_kit.selection.measures.scores import (
    FEATURE_SCORES,
    h_score,
    leep,
    linear_accuracy,
    log_me,
    negative_conditional_entropy,
    trans_rate,
)
from hf_transfer_kit.selection.measures.scores.half_samples import half_sample_error
from hf_transfer_kit.selection.measures.scores.leave_one_out import leave_one_out_accuracy


def blobs(rows=60, width=5, classes=3, *, apart=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = generator.normal(size=(classes, width)) * apart
    return centres[labels] + generator.normal(size=(rows, width)), labels


@pytest.mark.parametrize(("rows", "width"), [(40, 4), (12, 30)])
def test_log_me_is_the_maximum_of_the_evidence(rows, width):
    features, labels = blobs(rows, width)
    expected = []
    for label in range(3):
        target = (labels == label).astype(float)

        def loss(logs, target=target):
            alpha, beta = np.exp(logs)
            covariance = np.eye(rows) / beta + features @ features.T / alpha  # w integrated out
            return -multivariate_normal(np.zeros(rows), covariance).logpdf(target)

        starts = [
            minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000})
            for start in ([0, 0], [2, 2], [-2, 3])
        ]
        expected.append(-min(found.fun for found in starts) / rows)
    assert log_me(features, labels) == pytest.approx(np.mean(expected), abs=1e-6)


def test_log_me_is_the_same_from_either_side():
    """Rows times rows or features times features: a row of zeros more than features changes the path, not the sums."""
    features, labels = blobs(30, 30, seed=3)
    wide = np.concatenate([features, np.zeros((30, 1))], axis=1)  # N < D
    tall = features[:, :29] @ np.eye(29, 30)  # N = D, rank 29
    narrow = features[:, :29]  # N > D
    assert log_me(wide, labels) == pytest.approx(log_me(features, labels), abs=1e-9)
    assert log_me(tall, labels) == pytest.approx(log_me(narrow, labels), abs=1e-9)


def test_h_score_is_the_trace_by_hand():
    features, labels = blobs(50, 4)
    centred = features - features.mean(0)
    within = np.stack([centred[labels == label].mean(0) for label in labels])
    covariance, between = centred.T @ centred / 50, within.T @ within / 50
    assert h_score(features, labels, shrinkage=0.0) == pytest.approx(
        np.trace(np.linalg.inv(covariance) @ between), rel=1e-9
    )
    a = 0.3
    shrunk = (1 - a) * covariance + a * np.trace(covariance) / 4 * np.eye(4)
    assert h_score(features, labels, shrinkage=a) == pytest.approx(
        (1 - a) * np.trace(np.linalg.inv(shrunk) @ between), rel=1e-9
    )


def test_h_score_of_perfectly_separated_classes_is_their_number_less_one():
    labels = np.arange(40) % 4
    features = np.eye(4)[labels] + 1e-6 * np.random.default_rng(0).normal(size=(40, 4))
    assert h_score(features, labels, shrinkage=0.0) == pytest.approx(3.0, abs=1e-3)


def test_leep_and_nce_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([0, 0, 1, 1])
    total = 0.0
    for i in range(4):
        expected = 0.0
        for z in range(2):
            joint = sum(probabilities[j, z] for j in range(4) if labels[j] == labels[i]) / 4
            expected += joint / (probabilities[:, z].sum() / 4) * probabilities[i, z]
        total += np.log(expected)
    assert leep(probabilities, labels) == pytest.approx(total / 4, abs=1e-12)
    # Taken for class 0: rows 0, 1 (y = 0) and 3 (y = 1); for class 1: row 2.
    assert negative_conditional_entropy(probabilities, labels) == pytest.approx(
        (2 * np.log(2 / 3) + np.log(1 / 3)) / 4, abs=1e-12
    )


def test_leep_is_never_below_nce_plus_the_mean_log_probability():
    """Nguyen et al. 2020, property 2: LEEP >= NCE + mean log theta of the class each row is taken for."""
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(5), size=50)
    labels = generator.integers(3, size=50)
    bound = negative_conditional_entropy(probabilities, labels) + np.mean(np.log(probabilities.max(1)))
    assert leep(probabilities, labels) >= bound


def test_source_classes_that_tell_all_lose_nothing():
    labels = np.arange(12) % 3
    assert leep(np.eye(4)[labels], labels) == pytest.approx(0.0, abs=1e-12)
    assert negative_conditional_entropy(np.eye(4)[labels], labels) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("width", [3, 80])
def test_trans_rate_is_the_difference_of_coding_rates(width):
    features, labels = blobs(45, width)
    labels = np.where(np.arange(45) < 30, 0, labels + 1)  # unequal classes
    centred = features - features.mean(0)
    centred = centred / np.sqrt((centred**2).sum() / 45)

    def rate(rows):
        return 0.5 * np.log(np.linalg.eigvalsh(np.eye(width) + rows.T @ rows / (len(rows) * 1e-4))).sum()

    expected = rate(centred) - sum((labels == c).sum() / 45 * rate(centred[labels == c]) for c in np.unique(labels))
    assert trans_rate(features, labels) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_scores_do_not_change_with_the_order_of_rows_or_the_names_of_classes(name):
    if name.endswith("accuracy"):
        pytest.skip("folds are drawn by place")
    features, labels = blobs(60, 7, seed=2)
    order = np.random.default_rng(0).permutation(60)
    renamed = np.array([7, 2, 11])[labels]
    assert FEATURE_SCORES[name](features[order], renamed[order]) == pytest.approx(
        FEATURE_SCORES[name](features, labels), rel=1e-7
    )


@pytest.mark.parametrize("name", ["h_score", "trans_rate", "log_me"])
def test_scores_do_not_change_with_a_rotation_or_the_scale_of_features(name):
    features, labels = blobs(60, 7, seed=2)
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(7, 7)))[0]
    expected = FEATURE_SCORES[name](features, labels)
    assert FEATURE_SCORES[name](features @ rotation, labels) == pytest.approx(expected, rel=1e-6)
    for scale in (1e4, 1e-60):
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            assert FEATURE_SCORES[name](scale * features, labels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_better_features_score_higher(name):
    """The same rows with classes farther apart; also with fewer rows than features, and when features repeat."""
    # With fewer rows than features TransRate is known to say little.
    for rows, width in ((90, 5), (24, 60))[: 1 if name == "trans_rate" else 2]:
        values = []
        for apart in (0.0, 1.0, 3.0):
            features, labels = blobs(rows, width, apart=apart, seed=5)
            values.append(FEATURE_SCORES[name](np.concatenate([features, features], axis=1), labels))
        assert values[0] < values[2]
        assert np.isfinite(values).all()
        assert values[0] <= values[1] + 1e-9 <= values[2] + 2e-9


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_unequal_classes_and_constant_features_stay_finite(name):
    features, labels = blobs(40, 6, seed=1)
    labels = np.where(np.arange(40) < 36, 0, 1)
    features[:, 0] = 3.0
    assert np.isfinite(FEATURE_SCORES[name](features, labels))
    assert np.isfinite(FEATURE_SCORES[name](np.ones((40, 3)), labels))
    with np.errstate(all="raise"):
        assert np.isfinite(FEATURE_SCORES[name](np.zeros((40, 3)), labels))


def test_float32_features_give_the_value_of_float64_ones():
    features, labels = blobs(200, 20, seed=6)
    for score in (log_me, h_score, trans_rate):
        assert score(features.astype(np.float32), labels) == pytest.approx(score(features, labels), rel=1e-4)


def test_the_error_is_that_of_scores_on_fresh_rows():
    """The spread of the H-score over 40 fresh draws of 200 rows, against the error estimated within each."""
    values, errors = [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        labels = np.arange(200) % 2
        features = generator.normal(size=(200, 2)) + labels[:, None]
        values.append(h_score(features, labels))
        errors.append(half_sample_error(lambda rows, f=features, y=labels: h_score(f[rows], y[rows]), labels, draws=20))
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)


def test_the_error_with_fewer_than_half_of_the_rows_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(size=2_000)
    labels = np.zeros(2_000, dtype=int)
    error = half_sample_error(lambda rows: values[rows].mean(), labels, draws=400, most=200)
    assert error == pytest.approx(values.std() / np.sqrt(2_000), rel=0.1)


def test_one_row_a_class_has_no_error():
    assert half_sample_error(lambda rows: 0.0, np.arange(5)) is None


def test_probe_accuracy_of_random_features_is_near_chance():
    generator = np.random.default_rng(0)
    assert linear_accuracy(generator.normal(size=(300, 5)), np.arange(300) % 3) == pytest.approx(1 / 3, abs=0.09)


@pytest.mark.parametrize("width", [4, 40])
def test_leaving_one_out_is_what_refitting_gives(width):
    features, labels = blobs(20, width, seed=3)
    standard = (features - features.mean(0)) / features.std(0)
    targets = np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    accuracies = []
    for strength in (1.0, 0.1, 0.01):
        right = 0
        for row in range(20):
            kept = np.arange(20) != row
            # Ridge with an intercept that is not shrunk, by its normal equations in (weights, intercept).
            design = np.concatenate([standard[kept], np.ones((19, 1))], axis=1)
            ridge = np.diag([strength * width] * width + [0.0])
            solved = np.linalg.solve(design.T @ design + ridge, design.T @ targets[kept])
            right += (np.append(standard[row], 1.0) @ solved).argmax() == labels[row]
        accuracies.append(right / 20)
    assert leave_one_out_accuracy(features, labels) == pytest.approx(max(accuracies))


def test_leaving_one_out_of_ten_rows_and_of_constant_features():
    features, labels = blobs(10, 30, classes=5, apart=5.0, seed=1)
    assert leave_one_out_accuracy(features, labels) == 1.0
    assert leave_one_out_accuracy(np.ones((10, 3)), labels) <= 0.2
