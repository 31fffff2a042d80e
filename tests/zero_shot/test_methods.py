"""Methods against independent solutions, exact cases, and each other on made-up features."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_sylvester
from sklearn.linear_model import LogisticRegression

from hf_transfer_kit.data.class_balance import balanced_places
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.zero_shot import METHODS, AttributeTable
from hf_transfer_kit.zero_shot.methods import fitted_method
from hf_transfer_kit.zero_shot.methods.attribute_prediction import class_log_likelihoods
from hf_transfer_kit.zero_shot.methods.eszsl import eszsl_map
from hf_transfer_kit.zero_shot.methods.method import common_unit
from hf_transfer_kit.zero_shot.methods.prototype import ridge_map
from hf_transfer_kit.zero_shot.methods.ranking import hinge_weights, ranking_gradient, ranking_loss, warp_weights
from hf_transfer_kit.zero_shot.methods.sae import sae_map


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", [5, 15])
def test_eszsl_is_where_the_gradient_of_its_loss_is_zero(width):
    features, signatures, labels = random(12, width), random(4, 3, seed=1), torch.arange(12) % 4
    gamma, penalty = 0.7, 0.3
    found = eszsl_map(features, labels, signatures, gamma=gamma, penalty=penalty).requires_grad_()
    targets = 2.0 * torch.nn.functional.one_hot(labels, 4).double() - 1
    loss = (
        (features @ found @ signatures.T - targets).square().sum()
        + gamma * (found @ signatures.T).square().sum()
        + penalty * (features @ found).square().sum()
        + gamma * penalty * found.square().sum()
    )
    assert torch.autograd.grad(loss, found)[0].abs().max() < 1e-9
    # The same by Kronecker products: (R kron L) vec V = vec M.
    left = features.T @ features + gamma * torch.eye(width, dtype=torch.float64)
    right = signatures.T @ signatures + penalty * torch.eye(3, dtype=torch.float64)
    solved = np.linalg.solve(np.kron(right, left), (features.T @ targets @ signatures).numpy().ravel(order="F"))
    assert np.allclose(found.detach().numpy(), solved.reshape(width, 3, order="F"), atol=1e-9)


@pytest.mark.parametrize(("rows", "width"), [(20, 6), (5, 9)])
def test_sae_solves_its_sylvester_equation(rows, width):
    features, attributes, weight = random(rows, width), random(rows, 4, seed=1), 0.6
    found = sae_map(features, attributes, weight=weight).numpy()
    left, right = (attributes.T @ attributes).numpy(), (weight * features.T @ features).numpy()
    constant = ((1 + weight) * attributes.T @ features).numpy()
    assert np.allclose(left @ found + found @ right, constant, atol=1e-9)
    if rows > width:
        assert np.allclose(found, solve_sylvester(left, right, constant), atol=1e-9)


def test_dap_is_the_formula_of_lampert():
    present = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    classes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    priors = torch.tensor([0.5, 0.25], dtype=torch.float64)
    by_hand = [0.9 / 0.5 * 0.8 / 0.75, 0.1 / 0.5 * 0.2 / 0.25, 0.9 / 0.5 * 0.2 / 0.25]
    assert class_log_likelihoods(present, classes, priors).exp().tolist()[0] == pytest.approx(by_hand)


def test_warp_counts_violations_by_rank():
    scores = torch.tensor([[1.0, 0.95, 0.5, 2.0], [3.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0])
    assert hinge_weights(scores, labels, margin=0.1).tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]
    # Two violations: l(2) / 2 = (1 + 1/2) / 2.
    assert warp_weights(scores, labels, margin=0.1).tolist() == [[0, 0.75, 0, 0.75], [0, 0, 0, 0]]


def test_the_gradient_of_ranking_is_autograds():
    features, signatures, labels = random(6, 5), random(4, 3, seed=1), torch.arange(6) % 4
    matrix = random(5, 3, seed=2).requires_grad_()
    scores = features @ matrix @ signatures.T
    weights = warp_weights(scores.detach(), labels, margin=0.1)
    own = scores.gather(1, labels[:, None])
    loss = (weights * (0.1 + scores - own)).sum(dim=1).mean()
    assert ranking_loss(scores, labels, weights, margin=0.1).item() == pytest.approx(loss.item())
    expected = torch.autograd.grad(loss, matrix)[0]
    assert torch.allclose(ranking_gradient(features, signatures, labels, weights), expected, atol=1e-12)


def test_prototypes_are_a_ridge_regression():
    inputs, outputs = random(4, 7), random(4, 5, seed=1)
    primal = torch.linalg.solve(inputs.T @ inputs + 0.3 * torch.eye(7, dtype=torch.float64), inputs.T @ outputs)
    assert torch.allclose(ridge_map(inputs, outputs, penalty=0.3), primal, atol=1e-10)


def world(classes: np.ndarray, seen: int, *, rows=20, width=60, noise=1.0, seed=0):
    """Features that are a random linear picture of the attributes, and noise."""
    generator = torch.Generator().manual_seed(seed)
    signatures = torch.tensor(classes, dtype=torch.float64)
    picture = torch.randn(signatures.shape[1], width, generator=generator, dtype=torch.float64)
    labels = torch.arange(len(signatures)).repeat_interleave(rows)
    centred = signatures - signatures.mean(dim=0)
    features = centred[labels] @ picture
    features = features + noise * features.std() * torch.randn(features.shape, generator=generator, dtype=torch.float64)
    train = labels < seen
    return features, labels, signatures, train


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_classes_it_never_saw(name):
    generator = np.random.default_rng(3)
    features, labels, signatures, train = world(generator.integers(0, 2, (24, 12)).astype(float), 18, noise=0.3)
    fitted = fitted_method(name, {}, features[train], labels[train], signatures[:18])
    scores = fitted.scores(features[~train], signatures[18:])
    assert scores.shape == (120, 6)
    assert scores.isfinite().all()
    assert (scores.argmax(1) + 18 == labels[~train]).double().mean() > 0.6  # chance is 1/6
    parts = fitted.contributions(features[~train], signatures[labels[~train]])
    assert parts.shape == (120, 12)
    own = scores.gather(1, labels[~train][:, None] - 18)[:, 0]
    assert torch.allclose(parts.sum(dim=1), own, atol=1e-9)  # an explanation leaves nothing out
    # Scores of a class do not depend on which others there are.
    alone = fitted.scores(features[~train], signatures[20:21])
    assert torch.allclose(alone[:, 0], scores[:, 2], atol=1e-9)


def test_on_the_table_of_fifty_animals_bilinear_maps_are_ahead_of_attributes_by_themselves(shared):
    table = AttributeTable.of(shared / "data" / "awa2_attributes" / "attributes.csv")
    assert table.values.shape == (50, 85)
    found = {}
    for name, options in (("dap", {}), ("eszsl", {}), ("ale", {"epochs": 20})):
        accuracies = []
        for seed in (0, 1):
            order = np.random.default_rng(seed).permutation(50)
            features, labels, signatures, train = world(table.values[order], 40, noise=2.0, seed=seed)
            fitted = fitted_method(name, options, features[train], labels[train], signatures[:40])
            said = fitted.scores(features[~train], signatures[40:]).argmax(1) + 40
            accuracies.append((said == labels[~train]).double().mean().item())
        found[name] = np.mean(accuracies)
    assert found["dap"] > 0.15  # chance is 0.1
    assert found["eszsl"] > found["dap"]
    assert found["ale"] > found["dap"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("eszsl", {"gamma": 0}, "eszsl: gamma=0 is out of range"),
        ("sae", {"weight": -1}, "sae: weight=-1"),
        ("dap", {"c": 0}, "dap: c=0"),
        ("ale", {"epochs": 0}, "ale: epochs=0"),
        ("devise", {"margin": 0}, "devise: margin=0"),
        ("prototype", {"penalty": 0}, "prototype: penalty=0"),
    ],
)
def test_options_out_of_range_are_sentences(name, options, message):
    with pytest.raises(SettingsError, match=message):
        METHODS[name](5, 4, 3, **options)


@pytest.mark.parametrize("name", METHODS)
def test_every_loss_falls_when_trainer_descends_it(name):
    generator = np.random.default_rng(3)
    features, labels, signatures, train = world(generator.integers(0, 2, (24, 12)).astype(float), 18, noise=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = METHODS[name](60, 12, 18).double()
    method.begin(signatures[:18])
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(method.loss(features[train], labels[train]))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    said = method.scores(features[~train], signatures[18:]).argmax(1) + 18
    assert (said == labels[~train]).double().mean() > 0.5  # chance is 1/6


@pytest.mark.parametrize("name", ["dap", "iap"])
def test_logistic_regressions_are_those_of_scikit_learn(name):
    features, labels, signatures, train = world(np.eye(5)[[0, 1, 2, 3, 4]] + np.eye(5)[[1, 2, 3, 4, 0]], 4, noise=0.5)
    fitted = fitted_method(name, {"c": 0.3}, features[train], labels[train], signatures[:4])
    rows = fitted.rows(features[train]).numpy()
    if name == "iap":
        reference = LogisticRegression(C=0.3, max_iter=5000, tol=1e-8).fit(rows, labels[train].numpy())
        assert np.allclose(fitted.weight - fitted.weight.mean(0), reference.coef_, atol=1e-4)
        assert np.allclose(fitted._logits(features[train]).softmax(1), reference.predict_proba(rows), atol=1e-4)
        return
    binary = fitted.binary(signatures[:4])
    for attribute in range(5):
        column = binary[labels[train]][:, attribute].numpy()
        if np.ptp(column):
            reference = LogisticRegression(C=0.3, max_iter=5000, tol=1e-8).fit(rows, column)
            assert np.allclose(fitted.weight[attribute], reference.coef_[0], atol=1e-4)
            assert fitted.bias[attribute].item() == pytest.approx(reference.intercept_[0], abs=1e-4)
        else:
            assert fitted.priors[attribute] == 0.5
            assert not fitted.weight[attribute].any()


def made_up(seed=0):
    """Features that are a linear map of six attributes of eight classes, four of them 0 or 1."""
    values = torch.randint(0, 2, (8, 6), generator=torch.Generator().manual_seed(3)).double()
    values[:, 4:] = random(8, 2, seed=4).sigmoid()
    labels = torch.arange(80) % 8
    features = values[labels] @ random(6, 20, seed=5) + 0.3 * random(80, 20, seed=seed)
    return features, labels, values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("factor", "offset"), [(250.0, 0.0), (250.0, 9000.0), (0.01, 0.0), (1.0, 1000.0)])
def test_an_attribute_in_a_unit_of_its_own_counts_like_the_others(method, factor, offset):
    features, labels, values = made_up()
    values[:, 5] = (values[:, 5] - values[:6, 5].min()) / (values[:6, 5].max() - values[:6, 5].min())
    shown = labels < 6
    odd = values.clone()
    odd[:, 5] = factor * odd[:, 5] + offset
    plain, found = (
        fitted_method(method, {}, features[shown], labels[shown], table[:6]).scores(features[~shown], table)
        for table in (values, odd)
    )
    assert torch.allclose(found, plain, atol=1e-6)
    assert not torch.equal(odd, values)


def test_attributes_that_are_alike_stay_as_they_are():
    for values in (made_up()[2], torch.tensor([[0.0, 90.0], [40.0, 10.0], [20.0, 10.0]]), torch.ones(3, 2)):
        unit, origin = common_unit(values)
        assert torch.equal(unit, torch.ones_like(unit))
        assert torch.equal(origin, torch.zeros_like(origin))


@pytest.mark.parametrize("method", METHODS)
def test_balanced_rows_are_those_of_small_classes_several_times(method):
    features, labels, values = made_up()
    kept = (labels < 3) | (torch.arange(80) < 16)
    features, labels = features[kept], labels[kept]
    places = torch.from_numpy(balanced_places(labels.numpy(), seed=0))
    balanced = fitted_method(method, {}, features, labels, values, balanced=True)
    by_hand = fitted_method(method, {}, features[places], labels[places], values)
    plain = fitted_method(method, {}, features, labels, values)
    said = [made.scores(features, values) for made in (balanced, by_hand, plain)]
    assert torch.equal(said[0], said[1])
    assert not torch.allclose(said[0], said[2])


def test_an_ensemble_is_the_mean_of_its_members_in_units_of_their_spread():
    features, signatures, labels = random(60, 8), random(5, 4, seed=1), torch.arange(60) % 5
    options = {"eszsl": {"gamma": 0.1}, "prototype": {}}
    both = fitted_method(
        "ensemble", {"members": tuple(options), "member_options": options}, features, labels, signatures
    )
    others, expected = random(3, 4, seed=2), 0
    asked = random(7, 8, seed=3)
    for name, own in options.items():
        member = fitted_method(name, own, features, labels, signatures)
        spread = member.scores(features, member.signatures).std()
        expected = expected + member.scores(asked, others) / spread / 2
    assert torch.allclose(both.scores(asked, others), expected, atol=1e-9)


@pytest.mark.parametrize("members", [("eszsl",), ("eszsl", "eszsl"), ("eszsl", "ensemble")])
def test_an_ensemble_is_of_different_methods(members):
    with pytest.raises(SettingsError, match="ensemble"):
        METHODS["ensemble"](5, 4, 3, members=members)
