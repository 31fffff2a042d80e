"""Gradient reversal: its value, its gradient, and that a compiled step stays one graph."""

import pytest
import torch
from torch import nn

from hf_transfer_kit.adaptation import reverse_gradient


def _gradients(strength: float, *, reverse: bool, dtype=torch.float64):
    torch.manual_seed(0)
    body, head = nn.Linear(3, 4).to(dtype), nn.Linear(4, 2).to(dtype)
    features = body(torch.randn(5, 3, dtype=dtype)).tanh()
    features = reverse_gradient(features, torch.tensor(strength)) if reverse else features
    loss = head(features).square().sum()
    loss.backward()
    return loss.detach(), body.weight.grad, head.weight.grad


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 3.0])
def test_gradient_before_is_minus_strength_times_and_after_untouched(strength):
    plain, body, head = _gradients(strength, reverse=False)
    value, reversed_body, same_head = _gradients(strength, reverse=True)
    assert value == plain
    assert torch.equal(same_head, head)
    assert torch.allclose(reversed_body, -strength * body, rtol=1e-14, atol=0)


def test_a_gradient_in_half_precision_stays_so():
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    reverse_gradient(x, torch.tensor(0.5)).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.tolist() == [-0.5, -0.5]


def test_a_compiled_step_is_one_graph_for_all_strengths():
    body, strength, graphs = nn.Linear(3, 2), torch.tensor(0.0), []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    @torch.compile(backend=backend, fullgraph=True)
    def loss(x):
        return reverse_gradient(body(x), strength).sum()

    for value in (0.0, 0.3, 0.9):
        strength.fill_(value)
        body.zero_grad()
        loss(torch.ones(4, 3)).backward()
        assert torch.allclose(body.bias.grad, torch.full((2,), -4 * value))
    assert len(graphs) == 1
