"""Cosines between tasks' gradients: 1 for identical tasks, -1 for opposed ones, averaged over training."""

import pytest
import torch
from several_tasks import TASKS, Toy, shared_jacobian

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS, TaskAffinity


def recorder(tasks=TASKS, balancer="fixed", **options):
    return TaskAffinity(BALANCERS[balancer](tasks), **options)


def test_identical_tasks_have_1_and_opposed_ones_minus_1():
    toy = Toy()
    losses, shared = toy.losses()
    affinity = recorder(["a", "b", "c"])
    affinity({"a": losses["size"], "b": 5 * losses["size"], "c": -losses["size"]}, shared)
    expected = torch.tensor([[1, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    torch.testing.assert_close(affinity.matrix(), expected)


def test_the_matrix_is_the_mean_of_cosines_over_the_steps_looked_at():
    toy, other = Toy(), Toy(seed=9)
    affinity, expected = recorder(every=2), 0
    for batch in (toy, other, other):  # the second is not looked at
        affinity(*batch.losses()).backward()
    for batch in (toy, other):
        jacobian = shared_jacobian(batch)
        rows = jacobian / jacobian.norm(dim=1, keepdim=True)
        expected = expected + rows @ rows.T / 2
    torch.testing.assert_close(affinity.matrix(), expected)
    assert affinity.tasks == tuple(TASKS)


def test_gradients_weights_and_state_of_the_balancer_are_as_without():
    toy, plain = Toy(), Toy()
    affinity, balancer = recorder(balancer="mgda", every=1), BALANCERS["mgda"](TASKS)
    affinity(*toy.losses()).backward()
    balancer(*plain.losses()).backward()
    torch.testing.assert_close(toy.trunk_gradient(), plain.trunk_gradient(), rtol=0, atol=0)
    torch.testing.assert_close(toy.head_gradient("kind"), plain.head_gradient("kind"), rtol=0, atol=0)
    assert affinity.weights() == balancer.weights()


def test_pairs_count_when_both_have_a_gradient():
    toy = Toy()
    affinity = recorder(every=1)
    affinity(*toy.losses(tasks=["kind", "size"]))
    losses, shared = toy.losses()
    losses["kind"] = losses["kind"] * 0
    affinity(losses, shared)
    assert affinity.counts.tolist() == [[1, 1, 0], [1, 2, 1], [0, 1, 1]]
    assert affinity.matrix()[0, 2].isnan()
    assert affinity.matrix().diagonal().tolist() == pytest.approx([1, 1, 1])


def test_tasks_on_different_rows_are_compared_by_sums_over_rows():
    toy = Toy()
    shared = toy.trunk(toy.inputs)
    head = toy.heads["size"]
    losses = {"kind": head(shared[:4]).mean(), "size": head(shared[4:]).mean(), "colour": -head(shared[4:]).mean()}
    by_rows, summed = recorder(every=1), recorder(every=1, sum_rows=True)
    for affinity in (by_rows, summed):
        affinity(losses, shared)
    assert by_rows.matrix()[0].tolist() == pytest.approx([1, 0, 0])
    assert summed.matrix()[0].tolist() == pytest.approx([1, 1, -1])


def test_a_frozen_trunk_and_evaluation_say_nothing():
    toy = Toy()
    affinity = recorder(every=1)
    affinity.eval()(*toy.losses())
    toy.trunk.requires_grad_(False)
    affinity.train()(*toy.losses())
    assert affinity.counts.sum() == 0


def test_it_goes_on_after_a_resume():
    toy, one, other = Toy(), recorder(every=2), recorder(every=2)
    one(*toy.losses())
    other.load_state_dict(one.state_dict())
    for affinity in (one, other):
        affinity(*Toy(seed=9).losses())
        affinity(*Toy(seed=9).losses())
    assert torch.equal(one.matrix(), other.matrix())
    assert one.counts[0, 0] == 2


def test_wrong_arguments_are_refused():
    with pytest.raises(SettingsError, match="TaskAffinity: every=0 is out of range; give a whole number of 1 or more"):
        recorder(every=0)
    with pytest.raises(SettingsError, match="TaskAffinity: Linear is no balancer; give one of BALANCERS"):
        TaskAffinity(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("sum_rows", [False, True])
def test_two_processes_see_the_rows_of_both(two_processes, tmp_path, sum_rows):
    two_processes(TWO_PROCESSES, tmp_path, int(sum_rows))
    affinity = recorder(sum_rows=sum_rows)
    affinity(*Toy().losses())
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), affinity.matrix())


TWO_PROCESSES = """
import sys
import torch
from several_tasks import N, ROWS, TASKS, Toy
from torch import distributed
from hf_transfer_kit.multitask import BALANCERS, TaskAffinity

distributed.init_process_group("gloo")
rank = distributed.get_rank()
rows = slice(0, 3) if rank == 0 else slice(3, 8)
losses, shared = Toy().losses(rows)
for task in TASKS:
    everywhere = len(range(N)[ROWS[task]])
    own = len(set(range(N)[rows]) & set(range(N)[ROWS[task]]))
    losses[task] = losses[task] * own * 2 / everywhere
affinity = TaskAffinity(BALANCERS["fixed"](TASKS), sum_rows=bool(int(sys.argv[2])))
affinity(losses, shared)
torch.save(affinity.matrix(), f"{sys.argv[1]}/{rank}.pt")
distributed.destroy_process_group()
"""
