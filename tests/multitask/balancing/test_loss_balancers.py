"""Balancers of losses: their formulas, and torchjd's values where it has the method."""

import math

import pytest
import torch
from several_tasks import TASKS, Toy, flat
from torch import nn
from torchjd import scalarization
from transformers import Trainer

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS, BalancingEpochs
from hf_transfer_kit.multitask.balancing import GradientBalancer
from hf_transfer_kit.multitask.balancing.dwa import dwa_weights
from hf_transfer_kit.multitask.balancing.gls import gls_weights
from hf_transfer_kit.multitask.balancing.gradnorm import gradnorm_step

OF_LOSSES = [name for name, balancer in BALANCERS.items() if not issubclass(balancer, GradientBalancer)]


def tensors(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def as_losses(values, tasks=TASKS):
    return dict(zip(tasks, values, strict=True))


def gradient(balancer, values, tasks=TASKS):
    """d loss / d L_t, which is what weighs the tasks' gradients."""
    loss = balancer(as_losses(values, tasks))
    return torch.autograd.grad(loss, values)[0]


def test_fixed_weights_stay():
    balancer, values = BALANCERS["fixed"](TASKS, weights={"size": 0.5, "colour": 2}), tensors(1, 2, 3)
    assert balancer(as_losses(values)).item() == 1 + 1 + 6
    assert gradient(balancer, values).tolist() == [1, 0.5, 2]
    assert balancer.weights() == {"kind": 1, "size": 0.5, "colour": 2}


def test_uncertainty_is_its_closed_form_and_torchjds():
    balancer, reference = BALANCERS["uncertainty"](TASKS).double(), scalarization.UW(3).double()
    s, values = torch.tensor([0.3, -1.0, 0.0], dtype=torch.float64), tensors(1, 2, 3)
    with torch.no_grad():
        balancer.log_variances.copy_(s)
        reference.log_var.copy_(s)
    expected = sum(0.5 * math.exp(-a) * v + 0.5 * a for a, v in zip(s.tolist(), [1, 2, 3], strict=True))
    loss = balancer(as_losses(values))
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(loss, reference(values))
    loss.backward()
    torch.testing.assert_close(balancer.log_variances.grad, 0.5 - 0.5 * (-s).exp() * values.detach())
    torch.testing.assert_close(values.grad, 0.5 * (-s).exp())


def test_uncertainty_learns_the_logarithm_of_each_loss():
    balancer, values = BALANCERS["uncertainty"](TASKS).double(), tensors(0.5, 1, 4)
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        balancer(as_losses(values)).backward()
        optimizer.step()
    torch.testing.assert_close(balancer.log_variances.detach(), values.detach().log(), atol=1e-3, rtol=0)


def test_uncertainty_leaves_tasks_out_that_a_batch_lacks():
    balancer, values = BALANCERS["uncertainty"](TASKS).double(), tensors(2, 3)
    balancer(as_losses(values, ["kind", "colour"])).backward()
    assert balancer.log_variances.grad[1] == 0
    assert list(balancer.weights()) == ["kind", "colour"]


def test_dwa_is_its_formula_and_torchjds():
    balancer, reference = BALANCERS["dwa"](TASKS, temperature=1.5).double(), scalarization.DWA(1.5)
    epochs = [[(1, 2, 3), (3, 2, 1)], [(1, 1, 1), (2, 1, 0.5)], [(0.9, 0.4, 0.6)], [(0.1, 0.2, 0.3)]]
    for number, epoch in enumerate(epochs):
        for batch in epoch:
            values = tensors(*batch)
            torch.testing.assert_close(gradient(balancer, values), torch.autograd.grad(reference(values), values)[0])
        if number < 2:
            assert set(balancer.weights().values()) == {1}
        balancer.end_epoch()
        reference.step()
    rates = [0.9 / 1.5, 0.4 / 1, 0.6 / 0.75]
    total = sum(math.exp(rate / 1.5) for rate in rates)
    assert list(balancer.weights().values()) == pytest.approx([3 * math.exp(rate / 1.5) / total for rate in rates])


def test_dwa_takes_a_task_without_rows_for_one_whose_loss_stayed():
    nan = torch.nan
    weights = dwa_weights(tensors(1.0, nan, 2.0), tensors(1.0, 1.0, nan), 2.0)
    torch.testing.assert_close(weights, torch.ones(3, dtype=torch.float64))


def test_dwa_goes_on_after_a_resume_within_an_epoch():
    one, other = (BALANCERS["dwa"](TASKS) for _ in range(2))
    for batch in [(1, 2, 3), (2, 2, 1)]:
        gradient(one, tensors(*batch))
        one.end_epoch()
    gradient(one, tensors(3, 1, 1))
    other.load_state_dict(one.state_dict())
    for balancer in (one, other):
        gradient(balancer, tensors(1, 1, 2))
        balancer.end_epoch()
        gradient(balancer, tensors(1, 1, 1))
    assert one.weights() == other.weights()
    assert len(set(one.weights().values())) == 3


def test_rlw_weights_are_a_softmax_of_normal_numbers():
    balancer, values = BALANCERS["rlw"](TASKS, seed=7), tensors(1, 2, 3)
    state = torch.random.get_rng_state()
    drawn = torch.stack([gradient(balancer, values) for _ in range(400)])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(drawn.sum(1), torch.ones(400, dtype=torch.float64), rtol=0, atol=1e-6)
    logits = drawn.log() - drawn.log().mean(1, keepdim=True)
    assert logits.var(0).mean().item() == pytest.approx(1 - 1 / 3, abs=0.1)  # of a centred normal triple
    assert drawn.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    again = BALANCERS["rlw"](TASKS, seed=7)
    assert torch.equal(gradient(again, values), drawn[0])
    again.load_state_dict(balancer.state_dict())
    assert torch.equal(gradient(again, values), gradient(balancer, values))


def test_gls_is_the_geometric_mean_as_torchjds():
    balancer, values = BALANCERS["gls"](TASKS), tensors(0.5, 2, 8)
    assert balancer(as_losses(values)).item() == pytest.approx(2, abs=1e-12)
    expected = torch.autograd.grad(scalarization.GeometricMean()(values), values)[0]
    torch.testing.assert_close(gradient(balancer, values), expected)
    assert balancer(as_losses(tensors(1, 4), ["kind", "size"])).item() == pytest.approx(2)
    assert gls_weights(tensors(0, 1)).isfinite().all()


def test_gls_refuses_negative_losses():
    with pytest.raises(SettingsError, match=r"gls: a geometric mean needs losses of 0 or more, found {'kind': -1.0"):
        BALANCERS["gls"](TASKS)(as_losses(tensors(-1, 2, 3)))


def test_gradnorm_step_descends_its_loss_and_keeps_the_sum():
    weights, norms = tensors(0.5, 1.0, 1.5), tensors(2.0, 1.0, 0.2).detach()
    losses, first = tensors(1, 1.5, 0.4).detach(), tensors(2, 2, 2).detach()
    lengths = weights * norms
    mean = lengths.mean().detach()
    rates = (losses / first) / (losses / first).mean()
    naive = (lengths - mean * rates**1.5).abs().sum() / mean
    moved = weights - 0.1 * torch.autograd.grad(naive, weights)[0]
    expected = 3 * moved / moved.sum()
    found = gradnorm_step(weights.detach(), norms, losses, first, alpha=1.5, learning_rate=0.1)
    torch.testing.assert_close(found, expected)


def test_gradnorm_makes_weighted_gradients_equally_long_where_losses_fall_alike():
    toy, balancer = Toy(), BALANCERS["gradnorm"](TASKS, alpha=0, learning_rate=0.01).double()
    losses, shared = toy.losses()
    norms = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses.values()])
    for _ in range(1000):
        balancer(*toy.losses())
    lengths = balancer.task_weights * norms
    torch.testing.assert_close(lengths / lengths.mean(), torch.ones_like(lengths), rtol=0, atol=0.1)
    assert balancer.task_weights.sum().item() == pytest.approx(3)


def test_gradnorm_weighs_heads_and_trunk_by_the_weights_before_the_step():
    toy, balancer = Toy(), BALANCERS["gradnorm"](TASKS).double()
    balancer.task_weights.copy_(torch.tensor([0.5, 1.0, 1.5]))
    losses, shared = toy.losses()
    loss = balancer(losses, shared)
    parameters = [*toy.trunk.parameters(), *toy.heads.parameters()]
    expected = 0.5 * losses["kind"] + losses["size"] + 1.5 * losses["colour"]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        flat(torch.autograd.grad(loss, parameters, retain_graph=True)), flat(torch.autograd.grad(expected, parameters))
    )
    assert balancer.weights() == {"kind": 0.5, "size": 1, "colour": 1.5}
    assert not torch.equal(balancer.task_weights, torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64))
    other = BALANCERS["gradnorm"](TASKS).double()
    other.load_state_dict(balancer.state_dict())
    for each in (balancer, other):
        each(*toy.losses())
    assert torch.equal(balancer.task_weights, other.task_weights)


class TwoTasks(nn.Module):
    """A model with a balancer, small enough for Trainer's own loop."""

    def __init__(self, balancer):
        super().__init__()
        self.trunk, self.heads = nn.Linear(2, 3), nn.Linear(3, 2)
        self.balancer = balancer

    def forward(self, x=None, labels=None):
        shared = self.trunk(x)
        errors = (self.heads(shared) - labels).square().mean(0)
        return {"loss": self.balancer({"a": errors[0], "b": errors[1]}, shared)}


def test_epochs_are_told_by_the_callback(training_arguments):
    model = TwoTasks(BALANCERS["dwa"](["a", "b"]))
    rows = [{"x": torch.randn(2), "labels": torch.randn(2)} for _ in range(8)]
    args = training_arguments(num_train_epochs=3, per_device_train_batch_size=4, learning_rate=0.1)
    Trainer(model, args, train_dataset=rows, callbacks=[BalancingEpochs()]).train()
    assert model.balancer.epochs == 3
    assert len(set(model.balancer.weights().values())) == 2


@pytest.mark.parametrize("name", OF_LOSSES)
def test_two_processes_learn_as_one(name, two_processes, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path, name)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert found[0]["weights"] == found[1]["weights"]
    toy, balancer = Toy(), BALANCERS[name](TASKS).double()
    parameters = [*toy.parameters(), *balancer.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        balancer(*toy.losses()).backward()
        optimizer.step()
        balancer.end_epoch()
    assert found[0]["weights"] == pytest.approx(list(balancer.weights().values()), rel=1e-9)
    for rank in (0, 1):
        torch.testing.assert_close(found[rank]["parameters"], flat([parameter.detach() for parameter in parameters]))


TWO_PROCESSES = """
import sys
import torch
from several_tasks import N, ROWS, TASKS, Toy, flat
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from hf_transfer_kit.multitask import BALANCERS

distributed.init_process_group("gloo")
rank = distributed.get_rank()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.toy = Toy()
        self.balancer = BALANCERS[sys.argv[2]](TASKS).double()

    def forward(self, rows):
        losses, shared = self.toy.losses(rows)
        for task in TASKS:
            everywhere = len(range(N)[ROWS[task]])
            own = len(set(range(N)[rows]) & set(range(N)[ROWS[task]]))
            losses[task] = losses[task] * own * 2 / everywhere
        return self.balancer(losses, shared)


model = Model()
parallel = DistributedDataParallel(model)
parameters = [*model.toy.parameters(), *model.balancer.parameters()]
optimizer = torch.optim.SGD(parameters, lr=0.05)
for _ in range(4):
    optimizer.zero_grad()
    parallel(slice(0, 3) if rank == 0 else slice(3, 8)).backward()
    optimizer.step()
    model.balancer.end_epoch()
found = {"weights": list(model.balancer.weights().values()), "parameters": flat([p.detach() for p in parameters])}
torch.save(found, f"{sys.argv[1]}/{rank}.pt")
distributed.destroy_process_group()
"""
