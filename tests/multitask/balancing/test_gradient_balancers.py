"""Balancers of gradients: torchjd's weights, the trunk's and the heads' gradients, one backward of the trunk."""

import gc
import sys
import weakref

import pytest
import torch
from several_tasks import TASKS, WIDTH, Toy, flat, shared_jacobian, trunk_jacobian
from torch import nn
from torchjd import aggregation
from transformers import Trainer

from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.multitask import BALANCERS
from hf_transfer_kit.multitask.balancing import GradientBalancer
from hf_transfer_kit.multitask.balancing.dual_cone import NonNegativeLeastSquares
from hf_transfer_kit.multitask.balancing.nash_mtl import bargaining_weights

GRADIENT = [name for name, balancer in BALANCERS.items() if issubclass(balancer, GradientBalancer)]
MEAN = ("mgda", "imtl_g")  # weights of sum 1


def reference(name):
    """torchjd's own, with the kit's defaults; on the Jacobian for Nash-MTL, on the Gramian otherwise."""
    if name == "nash_mtl":
        pytest.importorskip("ecos")
        return aggregation.NashMTL(len(TASKS), optim_niter=100).weighting
    weighting = {
        "pcgrad": aggregation.PCGradWeighting,
        "cagrad": lambda: aggregation.CAGradWeighting(c=0.4),
        "mgda": aggregation.MGDAWeighting,
        "imtl_g": aggregation.IMTLGWeighting,
        "aligned_mtl": aggregation.AlignedMTLWeighting,
        "upgrad": aggregation.UPGradWeighting,
        "dual_proj": aggregation.DualProjWeighting,
    }[name]
    return lambda jacobian: weighting()(jacobian @ jacobian.T)


def make(name, tasks=TASKS, **options):
    """The balancer; skips where its packages are missing."""
    if name == "cagrad":
        pytest.importorskip("cvxpy")
        pytest.importorskip("clarabel")
    return BALANCERS[name](tasks, **options)


def balanced(name, toy, **options):
    """The balancer after one balanced backward of ``toy``."""
    balancer = make(name)
    balancer(*toy.losses(**options)).backward()
    return balancer


def last(balancer):
    return torch.tensor(list(balancer.weights().values()), dtype=torch.float64)


@pytest.mark.parametrize("name", GRADIENT)
def test_weights_are_torchjds_on_the_explicit_jacobian(name):
    # Where the mean gradient conflicts dual_proj has work to do, and torchjd's solver of nash_mtl fails.
    toy = Toy(seed=3 if name == "dual_proj" else 4)
    if name in ("upgrad", "dual_proj"):
        pytest.importorskip("quadprog")
    weights = last(balanced(name, toy))
    torch.manual_seed(0)  # the first seed of pcgrad's orders
    expected = reference(name)(shared_jacobian(toy))
    # Solved iteratively, by torchjd until the equation of nash_mtl holds to 1e-3.
    tolerance = {"nash_mtl": 2e-3, "cagrad": 1e-5}.get(name, 1e-10)
    torch.testing.assert_close(weights, expected.double(), rtol=tolerance, atol=tolerance)
    assert (weights - weights.mean()).abs().max() > 1e-3  # there is something to weigh


@pytest.mark.parametrize("name", GRADIENT)
def test_the_trunk_gets_the_weighted_sum_and_each_head_its_own_gradient(name):
    toy = Toy()
    weights = last(balanced(name, toy))
    torch.testing.assert_close(toy.trunk_gradient(), weights @ trunk_jacobian(toy), rtol=1e-10, atol=1e-12)
    losses, _ = toy.losses()
    for task, head in toy.heads.items():
        own = flat(torch.autograd.grad(losses[task], list(head.parameters())))
        torch.testing.assert_close(toy.head_gradient(task), own, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", GRADIENT)
def test_every_module_runs_backward_once(name):
    toy, calls = Toy(), []
    toy.inputs.requires_grad_()  # else the first hook warns
    modules = [toy.trunk[0], toy.trunk[2], *toy.heads.values()]
    for module in modules:
        module.register_full_backward_hook(lambda module, *_: calls.append(module))
    balanced(name, toy)
    assert sorted(map(id, calls)) == sorted(map(id, modules))


def test_the_value_is_the_plain_sum():
    toy = Toy()
    losses, shared = toy.losses()
    assert torch.equal(BALANCERS["mgda"](TASKS)(losses, shared), sum(losses.values()))


@pytest.mark.parametrize("name", GRADIENT)
def test_scaling_the_loss_scales_gradients_and_leaves_weights(name):
    plain, scaled = Toy(), Toy()
    expected = last(balanced(name, plain))
    balancer = make(name)
    (balancer(*scaled.losses()) * 1024 / 3).backward()
    torch.testing.assert_close(last(balancer), expected, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(scaled.trunk_gradient(), plain.trunk_gradient() * 1024 / 3, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(scaled.head_gradient("kind"), plain.head_gradient("kind") * 1024 / 3)


@pytest.mark.parametrize("name", [name for name in GRADIENT if BALANCERS[name].scale_free])
def test_small_gradients_are_weighed_like_large_ones(name):
    toy = Toy()
    expected = last(balanced(name, toy))
    losses, shared = toy.losses()
    balancer = make(name)
    balancer({task: 1e-6 * loss for task, loss in losses.items()}, shared).backward()
    torch.testing.assert_close(last(balancer), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mgda", "upgrad"])
def test_accumulated_halves_are_each_balanced_on_their_own(name):
    toy, halves = Toy(), (slice(0, 4), slice(4, 8))
    balancer = BALANCERS[name](TASKS)
    expected = 0
    for rows in halves:
        (balancer(*toy.losses(rows)) / 2).backward()
        expected = expected + last(balancer) @ trunk_jacobian(toy, rows=rows) / 2
    torch.testing.assert_close(toy.trunk_gradient(), expected)
    whole = Toy()
    balanced(name, whole)
    assert not torch.allclose(toy.trunk_gradient(), whole.trunk_gradient())  # not the balanced mean, as documented


@pytest.mark.parametrize("name", GRADIENT)
def test_a_batch_may_lack_tasks(name):
    toy, alone = Toy(), Toy()
    balancer = make(name)
    balancer(*toy.losses(tasks=["size", "colour"])).backward()
    assert list(balancer.weights()) == ["size", "colour"]
    other = make(name, ["size", "colour"])
    other(*alone.losses(tasks=["size", "colour"])).backward()
    torch.testing.assert_close(last(balancer), last(other), rtol=1e-6, atol=1e-8)
    balancer(*toy.losses(tasks=["kind"])).backward()
    assert last(balancer).isfinite().all()


@pytest.mark.parametrize("name", GRADIENT)
def test_a_task_without_gradient_takes_no_part(name):
    toy, other = Toy(), Toy()
    losses, shared = toy.losses()
    losses["kind"] = losses["kind"] * 0 + toy.heads["kind"].weight.sum()
    balancer = make(name)
    balancer(losses, shared).backward()
    assert balancer.weights()["kind"] == 0
    two = make(name)
    two(*other.losses(tasks=["size", "colour"])).backward()
    torch.testing.assert_close(last(balancer)[1:], last(two), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(toy.trunk_gradient(), other.trunk_gradient(), rtol=1e-6, atol=1e-8)


def test_what_heads_share_gets_the_sum_of_their_gradients():
    toy = Toy()
    scale = nn.Parameter(torch.ones(WIDTH, dtype=torch.float64))
    shared = toy.trunk(toy.inputs)
    normalized = shared * scale
    losses = {task: toy.heads[task](normalized).square().mean() for task in TASKS}
    expected = torch.autograd.grad(sum(losses.values()), scale, retain_graph=True)[0]
    jacobian = torch.stack(
        [torch.autograd.grad(loss, shared, retain_graph=True)[0].flatten() for loss in losses.values()]
    )
    balancer = BALANCERS["mgda"](TASKS)
    balancer(losses, shared).backward()
    torch.testing.assert_close(scale.grad, expected)
    torch.testing.assert_close(last(balancer), reference("mgda")(jacobian))


def test_several_representations_count_as_one():
    toy = Toy()
    together = last(balanced("mgda", toy))
    apart = Toy()
    halves = [apart.trunk(apart.inputs[:4]), apart.trunk(apart.inputs[4:])]
    shared = torch.cat(halves)
    losses, _ = apart.losses()
    losses = {
        "kind": nn.functional.cross_entropy(apart.heads["kind"](shared[:6]), apart.kind[:6]),
        "size": (apart.heads["size"](shared[2:]).squeeze(1) - apart.size[2:]).square().mean(),
        "colour": (apart.heads["colour"](shared).squeeze(1) + 3 * apart.size).square().mean(),
    }
    balancer = BALANCERS["mgda"](TASKS)
    balancer(losses, halves).backward()
    torch.testing.assert_close(last(balancer), together)
    torch.testing.assert_close(apart.trunk_gradient(), toy.trunk_gradient())


def test_disjoint_rows_never_conflict():
    toy = Toy()
    shared = toy.trunk(toy.inputs)
    losses = {"size": toy.heads["size"](shared[:4]).sum(), "colour": -toy.heads["size"](shared[4:]).sum()}
    balancer = BALANCERS["pcgrad"](TASKS)
    balancer(losses, shared).backward()
    assert balancer.weights() == {"size": 1, "colour": 1}


@pytest.mark.parametrize("name", GRADIENT)
def test_summed_over_rows_tasks_on_different_rows_are_weighed_as_if_they_met(name):
    toy = Toy()
    shared = toy.trunk(toy.inputs)
    losses = {"size": toy.heads["size"](shared[:4]).sum(), "colour": -2 * toy.heads["size"](shared[4:]).sum()}
    rows = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0] for loss in losses.values()])
    sums = rows.sum(1)  # (2, D)
    balancer = make(name, TASKS, sum_rows=True)
    expected = make(name, TASKS)
    expected_losses = {task: (sums[i] * shared[0]).sum() for i, task in enumerate(losses)}
    expected(expected_losses, shared).backward(retain_graph=True)
    toy.zero_grad()
    (3.0 * balancer(losses, shared)).backward()
    torch.testing.assert_close(last(balancer), last(expected))
    weights = torch.tensor([balancer.weights()[task] for task in losses], dtype=rows.dtype)
    trunk = torch.autograd.grad(
        toy.trunk(toy.inputs), list(toy.trunk.parameters()), (weights @ rows.flatten(1)).view_as(shared)
    )
    torch.testing.assert_close(toy.trunk_gradient(), 3.0 * flat(trunk))


def test_a_gradient_that_is_not_finite_reaches_the_gradient_scaler():
    toy = Toy()
    balancer = BALANCERS["upgrad"](TASKS)
    (balancer(*toy.losses()) * torch.inf).backward()
    assert set(balancer.weights().values()) == {1}
    assert not toy.trunk_gradient().isfinite().all()


def test_a_frozen_trunk_leaves_the_plain_sum():
    toy = Toy()
    toy.trunk.requires_grad_(False)
    losses, shared = toy.losses()
    balancer = BALANCERS["mgda"](TASKS)
    balancer(losses, shared).backward()
    assert set(balancer.weights().values()) == {1}
    assert all(toy.head_gradient(task).abs().sum() > 0 for task in TASKS)


def test_in_evaluation_it_is_the_sum_and_no_state_moves():
    toy = Toy()
    losses, shared = toy.losses()
    balancer = BALANCERS["pcgrad"](TASKS).eval()
    balancer(losses, shared).backward()
    torch.testing.assert_close(toy.trunk_gradient(), trunk_jacobian(toy).sum(0))
    assert balancer.weights() == {}
    assert balancer.draws.count == 0


def test_backward_may_run_twice():
    toy, twice = Toy(), Toy()
    balanced("mgda", toy)
    loss = BALANCERS["mgda"](TASKS)(*twice.losses())
    loss.backward(retain_graph=True)
    loss.backward()
    torch.testing.assert_close(twice.trunk_gradient(), 2 * toy.trunk_gradient())


def test_graphs_are_freed_without_the_garbage_collector():
    toy = Toy()
    losses, shared = toy.losses()
    kept = weakref.ref(shared)
    gc.disable()
    try:
        loss = BALANCERS["mgda"](TASKS)(losses, shared)
        loss.backward()
        del loss, losses, shared
        assert kept() is None
    finally:
        gc.enable()


class TwoTasks(nn.Module):
    """A model with a balancer, for the stock Trainer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.heads = nn.Linear(2, 3), nn.Linear(3, 2)
        self.balancer = BALANCERS["mgda"](["a", "b"])

    def forward(self, x=None, labels=None):
        shared = self.trunk(x)
        errors = (self.heads(shared) - labels).square().mean(0)
        return {"loss": self.balancer({"a": errors[0], "b": errors[1]}, shared)}


def test_the_stock_trainer_accumulates_balanced_gradients(training_arguments):
    rows = [{"x": torch.randn(2), "labels": torch.randn(2)} for _ in range(6)]
    model, expected = TwoTasks(), TwoTasks()
    args = training_arguments(
        max_steps=1,
        per_device_train_batch_size=3,
        gradient_accumulation_steps=2,
        learning_rate=0.1,
        optim="sgd",
        max_grad_norm=0.0,
        train_sampling_strategy="sequential",
    )
    Trainer(model, args, train_dataset=rows).train()
    for half in (rows[:3], rows[3:]):
        batch = {name: torch.stack([row[name] for row in half]) for name in ("x", "labels")}
        (expected(**batch)["loss"] / 2).backward()
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.detach(), (theirs - 0.1 * theirs.grad).detach())


@pytest.mark.gpu
@pytest.mark.parametrize("name", GRADIENT)
def test_on_a_gpu_it_is_the_same(name):
    toy, there = Toy(), Toy().cuda()
    expected = last(balanced(name, toy))
    torch.testing.assert_close(last(balanced(name, there)), expected)
    torch.testing.assert_close(there.trunk_gradient().cpu(), toy.trunk_gradient())


@pytest.mark.parametrize("name", ["pcgrad", "upgrad"])
def test_under_autocast_gradients_are_those_of_full_precision_roughly(name):
    full, half = Toy(torch.float32), Toy(torch.float32)
    balanced(name, full)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, shared = half.losses()
    assert shared.dtype == torch.bfloat16
    loss = BALANCERS[name](TASKS)(losses, shared)
    loss.backward()
    torch.testing.assert_close(half.trunk_gradient(), full.trunk_gradient(), rtol=0.1, atol=0.1)
    assert half.trunk_gradient().dtype == torch.float32


def test_orders_are_drawn_apart_from_the_global_state_and_go_on_after_a_resume():
    # The first conflicts with both others, whose order changes what is left of it.
    jacobian = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [-1.0, -0.2]], dtype=torch.float64)
    gramian, one, drawn = jacobian @ jacobian.T, BALANCERS["pcgrad"](TASKS, seed=5), []
    before = torch.random.get_rng_state()
    for step in range(8):
        if step == 3:
            other = BALANCERS["pcgrad"](TASKS, seed=5)
            other.load_state_dict(one.state_dict())
        drawn.append(one.gradient_weights(gramian, [0, 1, 2]))
    assert torch.equal(torch.random.get_rng_state(), before)
    for expected in drawn[3:]:
        assert torch.equal(other.gradient_weights(gramian, [0, 1, 2]), expected)
    assert any(not torch.equal(drawn[0], weights) for weights in drawn)


def test_nash_weights_solve_their_equation():
    jacobian = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for scale in (1e-3, 1.0, 1e3):
        gramian = scale * jacobian @ jacobian.T
        weights = bargaining_weights(gramian)
        assert (weights > 0).all()
        torch.testing.assert_close(gramian @ weights, 1 / weights, rtol=1e-5, atol=0)
    # By hand: tasks that do not touch weigh 1 / |g|; tasks of one direction share.
    assert bargaining_weights(torch.diag(torch.tensor([4.0, 0.25]).double())).tolist() == pytest.approx(
        [0.5, 2.0], rel=1e-5
    )
    assert bargaining_weights(torch.ones(2, 2).double()).tolist() == pytest.approx([0.5**0.5] * 2, rel=1e-5)
    opposed = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    assert bargaining_weights(opposed).isfinite().all()
    balancer = BALANCERS["nash_mtl"](TASKS[:2], max_norm=0.5)
    found = balancer.gradient_weights(torch.diag(torch.tensor([4.0, 1.0]).double()), [0, 1])
    assert (found @ torch.diag(torch.tensor([4.0, 1.0]).double()) @ found).sqrt().item() == pytest.approx(0.5)


def test_least_squares_project_as_the_conditions_of_optimality_say():
    jacobian = torch.randn(4, 3, dtype=torch.float64)
    gramian = jacobian @ jacobian.T
    u = torch.rand(4, dtype=torch.float64)
    v = NonNegativeLeastSquares()(u, gramian)
    slope = (gramian / gramian.diagonal().sum() + 1e-4 * torch.eye(4, dtype=torch.float64)) @ v
    assert (v >= u - 1e-9).all()
    assert (slope >= -1e-9).all()
    torch.testing.assert_close(slope @ (v - u), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0)
    assert (v - u).abs().max() > 1e-3


def test_losses_that_do_not_use_the_representation_are_refused():
    toy = Toy()
    losses, shared = toy.losses()
    with pytest.raises(ModelError, match=r"No task's loss depends on the shared representation"):
        BALANCERS["mgda"](TASKS)(losses, shared * 1)
    with pytest.raises(ModelError, match=r"mgda compares the tasks' gradients at the shared representation, but was"):
        BALANCERS["mgda"](TASKS)(losses)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"cagrad lacks packages: .*torchjd\[cagrad\]"):
        BALANCERS["cagrad"](TASKS)


def test_without_torchjd_each_says_which_extra_it_wants(monkeypatch):
    for word in ("torchjd", "torchjd.aggregation"):
        monkeypatch.setitem(sys.modules, word, None)
    of_gradients = {name for name, kind in BALANCERS.items() if issubclass(kind, GradientBalancer)}
    for name in of_gradients - {"nash_mtl"}:
        with pytest.raises(SettingsError, match=rf"{name} needs torchjd: pip install 'hf_transfer_kit\[balancing\]'"):
            BALANCERS[name](TASKS)
    assert BALANCERS["nash_mtl"](TASKS).name == "nash_mtl"


def test_two_processes_choose_the_weights_of_one(two_processes, tmp_path):
    two_processes(TWO_PROCESSES, tmp_path)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for name in ("pcgrad", "mgda", "upgrad", "aligned_mtl"):
        toy = Toy()
        balancer = balanced(name, toy)
        assert found[0][name]["weights"] == found[1][name]["weights"]
        torch.testing.assert_close(torch.tensor(found[0][name]["weights"], dtype=torch.float64), last(balancer))
        jacobian = shared_jacobian(toy)
        for rank in (0, 1):
            torch.testing.assert_close(found[rank][name]["gramian"], jacobian @ jacobian.T)
            torch.testing.assert_close(found[rank][name]["trunk"], toy.trunk_gradient())
            torch.testing.assert_close(found[rank][name]["head"], toy.head_gradient("kind"))


TWO_PROCESSES = """
import sys
import torch
from several_tasks import N, ROWS, TASKS, Toy
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from hf_transfer_kit.multitask import BALANCERS
from hf_transfer_kit.multitask.balancing.task_gradients import tasks_gramian

distributed.init_process_group("gloo")
rank = distributed.get_rank()


class Model(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.toy = Toy()
        self.balancer = BALANCERS[name](TASKS)

    def forward(self, rows):
        losses, shared = self.toy.losses(rows)
        # The mean over all rows of both processes: each process has its share of them.
        for task in TASKS:
            everywhere = len(range(N)[ROWS[task]])
            own = len(set(range(N)[rows]) & set(range(N)[ROWS[task]]))
            losses[task] = losses[task] * own * 2 / everywhere
        self.gramian = tasks_gramian(list(losses.values()), [shared])
        return self.balancer(losses, shared)


found = {}
for name in ("pcgrad", "mgda", "upgrad", "aligned_mtl"):
    model = Model(name)
    parallel = DistributedDataParallel(model)
    if rank:
        torch.rand(1)  # global states differ
    parallel(slice(0, 3) if rank == 0 else slice(3, 8)).backward()
    found[name] = {
        "weights": list(model.balancer.weights().values()),
        "gramian": model.gramian,
        "trunk": model.toy.trunk_gradient(),
        "head": model.toy.head_gradient("kind"),
    }
torch.save(found, f"{sys.argv[1]}/{rank}.pt")
distributed.destroy_process_group()
"""
