"""Aligned features have the moments and subspaces that the formulas promise; a probe on them follows the target."""

import sys
import types

import numpy as np
import pytest

from hf_transfer_kit.adaptation.alignment import (
    ALIGNMENTS,
    align_covariance,
    align_standardised,
    align_subspace,
    align_transport,
    shallow_adaptation,
)
from hf_transfer_kit.errors import DataError, SettingsError

ALIGNED = [name for name in ALIGNMENTS if name not in ("none", "transport")]  # transport needs a further package


def two_domains(rows=300, *, seed=0):
    """Three classes on the line y = x, in the target mirrored to another scale, place and correlation."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    centres = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    rows_of = [centres[labels] + generator.normal(size=(rows, 3)) * [0.7, 0.7, 1.0] for _ in range(2)]
    return rows_of[0], labels, rows_of[1] * [3.0, 0.2, 10.0] + [30.0, -5.0, 1.0], labels


def slow_power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return sum(value**exponent * np.outer(vector, vector) for value, vector in zip(values, vectors.T, strict=True))


def test_standardised_domains_have_mean_zero_and_variance_one():
    source, _, target, _ = two_domains()
    source = np.concatenate([source, np.full((300, 1), 0.1)], axis=1)
    target = np.concatenate([target, np.full((300, 1), 7.0)], axis=1)
    for rows in align_standardised(source, target):
        np.testing.assert_allclose(rows.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(rows.std(0), [1, 1, 1, 0], atol=1e-12)


def test_coral_is_the_formula_and_gives_the_source_the_targets_covariance():
    source, _, target, _ = two_domains()
    target[:, 1] += 0.05 * target[:, 0]
    found, kept = align_covariance(source, target, ridge=0.5)
    plain_source, plain_target = align_standardised(source, target)
    np.testing.assert_array_equal(kept, plain_target)
    first, second = (np.cov(rows.T) + 0.5 * np.eye(3) for rows in (plain_source, plain_target))
    np.testing.assert_allclose(found, plain_source @ slow_power(first, -0.5) @ slow_power(second, 0.5), atol=1e-10)
    found, _ = align_covariance(source, target, ridge=1e-9)
    np.testing.assert_allclose(np.cov(found.T), np.cov(plain_target.T), atol=1e-6)


def test_with_a_ridge_few_rows_and_many_features_are_no_trouble():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(5, 40)), generator.normal(size=(4, 40))
    found, kept = align_covariance(*rows)
    np.testing.assert_array_equal(found, align_covariance(*rows, ridge=100.0)[0])
    assert np.isfinite(found).all()
    assert found.shape == (5, 40)
    assert kept.shape == (4, 40)


def test_subspaces_are_aligned_as_in_the_formula():
    source, _, target, _ = two_domains()
    target[:, 1] += 0.05 * target[:, 0]
    found, other = align_subspace(source, target, components=2)
    assert found.shape == other.shape == (300, 2)
    first, second = align_standardised(source, target)
    bases = [np.linalg.eigh(np.cov(rows.T))[1][:, ::-1][:, :2] for rows in (first, second)]
    expected = first @ bases[0] @ bases[0].T @ bases[1]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(np.abs(other), np.abs(second @ bases[1]), atol=1e-10)
    assert align_subspace(source, target, components=50)[0].shape == (300, 3)


def test_transport_maps_rows_to_the_mean_of_where_their_mass_goes(monkeypatch):
    calls = {}

    def sinkhorn(first, second, costs, entropy, **options):
        calls.update(first=first, second=second, costs=costs, entropy=entropy)
        plan = np.zeros_like(costs)
        plan[np.arange(len(costs)), costs.argmin(1)] = 1 / len(costs)
        return plan

    fake = types.SimpleNamespace(sinkhorn=sinkhorn, unif=lambda n: np.full(n, 1 / n))
    monkeypatch.setitem(sys.modules, "ot", fake)
    source, _, target, _ = two_domains(30)
    found, other = align_transport(source, target, entropy=0.2)
    first, second = align_standardised(source, target)
    distances = ((first[:, None] - second[None]) ** 2).sum(-1)
    np.testing.assert_allclose(calls["costs"], distances / np.median(distances), atol=1e-10)
    np.testing.assert_allclose(found, other[distances.argmin(1)], atol=1e-12)
    assert calls["entropy"] == 0.2


def test_transport_with_pot_brings_the_domains_together():
    pytest.importorskip("ot")
    source, _, target, _ = two_domains(60)
    found, other = align_transport(source, target, entropy=0.01)
    np.testing.assert_allclose(found.mean(0), other.mean(0), atol=1e-3)
    assert (found.std(0) > 0.7).all()


def test_without_pot_transport_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    source, _, target, _ = two_domains(30)
    with pytest.raises(SettingsError, match=r"needs the package POT, which is missing: pip install"):
        align_transport(source, target)


@pytest.mark.parametrize("method", ALIGNED)
def test_a_probe_on_aligned_features_follows_the_target(method):
    source, labels, target, truth = two_domains()
    plain = shallow_adaptation((source, labels), target, method="none").accuracy(truth)
    found = shallow_adaptation((source, labels), target, method=method)
    assert plain < 0.5
    assert found.accuracy(truth) > 0.9
    assert found.source.shape[1] == found.target.shape[1]


def test_the_targets_place_and_scale_do_not_count():
    source, labels, target, _ = two_domains()
    for method in ALIGNED:
        found = [
            shallow_adaptation((source, labels), rows, method=method, strengths=[0.01]).predictions
            for rows in (target, 100 + 7 * target)
        ]
        assert (found[0] == found[1]).all()


def test_what_cannot_be_is_refused():
    source, labels, target, truth = two_domains(30)
    with pytest.raises(SettingsError, match=r"method='magic' is unknown; choose 'none' or 'standardised'"):
        shallow_adaptation((source, labels), target, method="magic")
    with pytest.raises(DataError, match="The source has 3 features a row and the target 2"):
        align_covariance(source, target[:, :2])
    with pytest.raises(DataError, match="The target has 1 rows"):
        align_subspace(source, target[:1])
    with pytest.raises(SettingsError, match="coral: ridge=0 is out of range"):
        align_covariance(source, target, ridge=0)
    with pytest.raises(SettingsError, match="subspace: components=0 is out of range"):
        align_subspace(source, target, components=0)
    with pytest.raises(DataError, match=r"30 target rows were adapted to, and the labels have the shape \(5,\)"):
        shallow_adaptation((source, labels), target, strengths=[0.1]).accuracy(truth[:5])
