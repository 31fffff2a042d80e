"""Values, gradients and decoupled steps of the penalties agree with autograd and with their definitions."""

import pytest
import torch

from hf_transfer_kit.tuning.conservative.lora_delta import delta_gradients, delta_squared
from hf_transfer_kit.tuning.conservative.penalties import NORMS, deltas, squared_distance


def some_deltas(scale=1.0):
    return [torch.randn(shape, dtype=torch.float64) * scale for shape in [(3, 4), (5,), (2, 3, 2, 2), ()]]


def decoupled(norm, tensors, amount, importances=None):
    steps, factor = NORMS[norm].decoupled(tensors, amount, importances)
    return [factor * step for step in steps]


def naive(norm, tensors):
    """One element, or one group, at a time."""
    if norm == "l2":
        return sum(float(x) ** 2 for d in tensors for x in d.flatten()) / 2
    if norm == "l1":
        return sum(abs(float(x)) for d in tensors for x in d.flatten())
    groups = [row for d in tensors for row in (d if d.ndim > 1 else d.flatten())]
    return sum(row.numel() ** 0.5 * float((row**2).sum()) ** 0.5 for row in groups)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
def test_the_value_is_its_definition(norm, scale):
    tensors = some_deltas(scale)
    assert float(NORMS[norm].value(tensors)) == pytest.approx(naive(norm, tensors), rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_the_gradient_is_autograds(norm):
    tensors = [d.requires_grad_() for d in some_deltas()]
    expected = torch.autograd.grad(NORMS[norm].value(tensors), tensors)
    found = NORMS[norm].gradients([d.detach() for d in tensors])
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_with_importances_value_gradient_and_step_are_weighted():
    tensors = [d.requires_grad_() for d in some_deltas()]
    weights = [torch.rand_like(d) for d in tensors]
    value = NORMS["l2"].value(tensors, weights)
    assert value.item() == pytest.approx(
        sum((f * d * d).sum() / 2 for f, d in zip(weights, tensors, strict=True)).item()
    )
    expected = torch.autograd.grad(value, tensors)
    plain = [d.detach() for d in tensors]
    for ours, theirs in zip(NORMS["l2"].gradients(plain, weights), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)
    for ours, theirs in zip(decoupled("l2", plain, 0.1, weights), expected, strict=True):
        assert torch.allclose(ours, -0.1 * theirs, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_where_nothing_moved_there_is_no_gradient_and_no_step(norm):
    zeros = [torch.zeros(3, 2), torch.zeros(4)]
    assert not any(g.any() for g in NORMS[norm].gradients(zeros))
    assert not any(step.any() for step in decoupled(norm, zeros, 0.3))


@pytest.mark.parametrize("norm", ["l1", "group"])
def test_the_decoupled_step_is_proximal(norm):
    """It minimises amount * norm(x) + |x - d|^2 / 2: no other point near it is better."""
    amount = 0.4
    for delta in some_deltas():
        end = delta + decoupled(norm, [delta], amount)[0]

        def cost(x, delta=delta):
            return amount * float(NORMS[norm].value([x])) + float((x - delta).square().sum()) / 2

        for _ in range(50):
            assert cost(end) <= cost(end + 0.01 * torch.randn_like(end)) + 1e-12


def test_a_strong_proximal_step_lands_exactly_on_w0():
    for norm in ("l1", "group"):
        for delta in some_deltas():
            assert not (delta + decoupled(norm, [delta], 1e3)[0]).any()


def test_deltas_and_distance():
    weights, anchors = some_deltas(), some_deltas()
    expected = sum((w - a).square().sum() for w, a in zip(weights, anchors, strict=True))
    assert float(squared_distance(deltas(weights, anchors))) == pytest.approx(expected.item(), rel=1e-12)
    assert deltas(weights, None) is weights
    assert float(squared_distance([])) == 0


def test_half_precision_sums_in_full():
    weights = [torch.full((4096,), 0.1, dtype=torch.bfloat16)]
    exact = float(weights[0][0]) ** 2 * 4096
    assert float(squared_distance(weights)) == pytest.approx(exact, rel=1e-5)


def test_the_merged_delta_of_lora_without_forming_it():
    a, b = torch.randn(3, 7, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    a.requires_grad_()
    b.requires_grad_()
    naive = (1.5 * b @ a).square().sum()
    assert delta_squared(a, b, 1.5).item() == pytest.approx(naive.item(), rel=1e-12)
    for ours, theirs in zip(delta_gradients(a, b, 1.5), torch.autograd.grad(naive / 2, [a, b]), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)
