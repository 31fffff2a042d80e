"""What a training row costs at each depth, by hand."""

import pytest
import torch
from torch import nn

from hf_transfer_kit import layer_groups
from hf_transfer_kit.selection.finetuning.depth_costs import forward_costs, training_cost


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.second(torch.relu(self.first(x))))


def test_shares_are_those_of_the_multiplications_and_nothing_changes():
    model = Net().train()
    before = torch.random.get_rng_state()
    shares = forward_costs(
        model, layer_groups(model, example_inputs={"x": torch.zeros(1, 4)}), {"x": torch.zeros(3, 4)}
    )
    assert shares == pytest.approx([0.25, 0.5, 0.25])
    assert model.training
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("frozen", "cached", "cost"),
    [
        (range(0), False, 1 + 0.75 + 1),
        (range(1), False, 1 + 0.25 + 0.75),
        (range(1), True, 0.75 + 0.25 + 0.75),
        (range(2), False, 1 + 0 + 0.25),
        (range(2), True, 0.25 + 0 + 0.25),
        (range(1, 2), False, 1 + 0.75 + 0.5),
    ],
)
def test_forward_gradients_of_activations_and_gradients_of_weights(frozen, cached, cost):
    assert training_cost([0.25, 0.5, 0.25], frozen, cached=cached) == pytest.approx(cost)
