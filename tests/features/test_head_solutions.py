"""The regressions that heads begin with, against the gradient of what they minimise and a plain loop over strengths."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hf_transfer_kit.features.head_solutions import (
    STRENGTHS,
    Labelled,
    layer_of_classes,
    layer_of_labels,
    layer_of_numbers,
)

COUNT = 4


def features(rows, seed=0, width=6):
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(rows, width)) * np.geomspace(0.2, 3, width) + 1).astype(np.float32)


def classes(values):
    return (
        values[:, 0] * 5 + values[:, -1] > np.quantile(values[:, 0] * 5 + values[:, -1], [0.25, 0.5, 0.75])[:, None]
    ).sum(0)


def scale_of(values):
    variances = values.astype(np.float64).var(0)
    return np.sqrt((variances + variances.mean()) / 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_classes_are_fitted_to_the_minimum_of_the_weighted_loss(weighted):
    x, held = features(200), features(60, seed=1)
    y = classes(x)
    weights = np.array([1.0, 2.0, 0.5, 3.0]) if weighted else None
    found = layer_of_classes(Labelled(x, y), COUNT, held=Labelled(held, classes(held)), weights=weights)
    assert found.strength in STRENGTHS
    each = torch.as_tensor((np.ones(COUNT) if weights is None else weights)[y])
    scale = torch.as_tensor(scale_of(x))
    inner = (torch.as_tensor(found.weight).double() * scale).requires_grad_()
    bias = torch.as_tensor(found.bias).double().requires_grad_()
    logits = torch.as_tensor(x).double() / scale @ inner.T + bias
    losses = functional.cross_entropy(logits, torch.as_tensor(y), reduction="none")
    loss = (each * losses).sum() / each.sum() + found.strength / 2 * (inner.square().sum() + bias.square().sum())
    for gradient in torch.autograd.grad(loss, [inner, bias]):
        assert gradient.abs().max() < 2e-3
    each = torch.as_tensor((np.ones(COUNT) if weights is None else weights)[classes(held)])
    losses = functional.cross_entropy(torch.as_tensor(found(held)), torch.as_tensor(classes(held)), reduction="none")
    assert found.strength == min(found.losses, key=found.losses.get)
    assert found.losses[found.strength] == pytest.approx((each * losses).sum().item() / each.sum().item(), rel=1e-5)


def test_a_class_without_rows_loses_and_one_class_alone_says_nothing():
    x = features(50)
    y = classes(x)
    y[y == 2] = 1
    found = layer_of_classes(Labelled(x, y), COUNT)
    assert not (found(features(500, seed=3)).argmax(1) == 2).any()
    assert not found.weight[2].any()
    alone = layer_of_classes(Labelled(x, np.full(50, 3)), COUNT)
    assert (alone(x).argmax(1) == 3).all()


def test_rows_that_cannot_be_left_out_get_the_middle_strength():
    x = features(COUNT)
    assert layer_of_classes(Labelled(x, np.arange(COUNT)), COUNT).strength == 1.0


def test_a_head_without_bias_has_none():
    x = features(100)
    found = layer_of_classes(Labelled(x, classes(x)), COUNT, bias=False)
    assert not found.bias.any()
    assert (found(x).argmax(1) == classes(x)).mean() > 0.7


@pytest.mark.parametrize("rows", [4, 150])
def test_numbers_are_ridge_regression_where_they_are_known(rows):
    """Few rows and many, by the other Gram matrix; unknown numbers leave their row out of that number alone."""
    x = features(rows)
    y = np.stack([x[:, 0] * 3 + 100, x[:, 1] - x[:, 2]], axis=1).astype(np.float64)
    y[0, 1] = np.nan
    found = layer_of_numbers(Labelled(x, y))
    for place in range(2):
        known = ~np.isnan(y[:, place])
        scale, mean = scale_of(x), x[known].mean(0)
        plain, wanted = (x[known] - mean) / scale, y[known, place]
        inner = np.linalg.solve(
            plain.T @ plain + found.strength * known.sum() * np.eye(x.shape[1]), plain.T @ (wanted - wanted.mean())
        )
        assert found.weight[place] == pytest.approx(inner / scale, rel=1e-3, abs=1e-4)
        assert found.bias[place] == pytest.approx(wanted.mean() - (inner / scale) @ mean, rel=1e-4, abs=1e-3)


def test_labels_are_fitted_one_by_one_and_those_of_all_rows_by_their_odds():
    x = features(300)
    y = np.stack([x[:, 0] > 1.1, x[:, 5] > 1.0, np.zeros(300), np.ones(300)], axis=1).astype(np.float64)
    y[:50, 1] = np.nan
    found = layer_of_labels(Labelled(x, y), held=Labelled(features(100, 1), np.repeat([[1.0, 0.0, 0.0, 1.0]], 100, 0)))
    assert found.bias[2:] == pytest.approx([np.log(0.5 / 300.5), np.log(300.5 / 0.5)], rel=1e-5)
    assert not found.weight[2:].any()
    found = layer_of_labels(Labelled(x, y))
    said = found(x) > 0
    assert (said[:, 0] == (y[:, 0] == 1)).mean() > 0.8
    assert (said[50:, 1] == (y[50:, 1] == 1)).mean() > 0.8
