"""What holds for every balancer: one signature, finite losses, checkpoints, refusals."""

import pytest
import torch
from several_tasks import TASKS, Toy

from hf_transfer_kit.errors import SettingsError, TransferKitError
from hf_transfer_kit.multitask import BALANCERS


def make(name, tasks=TASKS, **options):
    try:
        return BALANCERS[name](tasks, **options)
    except SettingsError as error:
        if "lacks packages" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", BALANCERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_parameters_learn(name, dtype):
    toy, balancer = Toy(dtype), make(name).to(dtype)
    loss = balancer(*toy.losses())
    assert loss.dim() == 0
    assert loss.isfinite()
    loss.backward()
    for parameter in [*toy.parameters(), *balancer.parameters()]:
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0
    assert list(balancer.weights()) == TASKS
    assert all(isinstance(weight, float) for weight in balancer.weights().values())


@pytest.mark.parametrize("name", BALANCERS)
def test_the_order_of_losses_does_not_count(name):
    toy, other = Toy(), Toy()
    make(name)(*toy.losses()).backward()
    losses, shared = other.losses()
    make(name)(dict(reversed(losses.items())), shared).backward()
    torch.testing.assert_close(other.trunk_gradient(), toy.trunk_gradient())


@pytest.mark.parametrize("name", BALANCERS)
def test_in_evaluation_it_is_the_plain_sum(name):
    balancer = make(name)
    state = {key: value.clone() for key, value in balancer.state_dict().items()}
    losses, shared = Toy().losses()
    with torch.no_grad():
        assert balancer(losses, shared) == sum(losses.values())
    assert balancer.eval()(losses, shared) == sum(losses.values())
    assert balancer.weights() == {}
    for key, value in balancer.state_dict().items():
        torch.testing.assert_close(value, state[key], equal_nan=True)


@pytest.mark.parametrize("name", BALANCERS)
def test_state_is_tensors_that_load_again(name):
    balancer = make(name)
    balancer(*Toy().losses()).backward()
    assert all(isinstance(value, torch.Tensor) for value in balancer.state_dict().values())
    other = make(name)
    other.load_state_dict(balancer.state_dict())
    for key, value in other.state_dict().items():
        torch.testing.assert_close(value, balancer.state_dict()[key], equal_nan=True)


@pytest.mark.parametrize(
    ("tasks", "losses", "words"),
    [
        ([], None, r"fixed: tasks=\[\] names none; give a list"),
        ("kind", None, "fixed: tasks='kind' names none"),
        (["a", "a"], None, "names a task twice; give each name once"),
        (["a"], {"b": torch.ones(())}, "there are losses of 'b'; its tasks are 'a'"),
        (["a"], {}, "there are no losses"),
        (["a"], {"a": torch.ones(3)}, r"the loss of 'a' has shape \(3,\); give one element"),
    ],
)
def test_wrong_tasks_are_refused(tasks, losses, words):
    with pytest.raises(SettingsError, match=words):
        BALANCERS["fixed"](tasks)(losses)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fixed", {"weights": {"shape": 1}}, "fixed: weights name 'shape', but the tasks are 'kind', 'size', 'colour'"),
        (
            "fixed",
            {"weights": {"size": -1}},
            r"fixed: weights\['size'\]=-1 is out of range; give a number of 0 or more",
        ),
        ("dwa", {"temperature": 0}, "dwa: temperature=0 is out of range; give a number above 0"),
        ("rlw", {"seed": -1}, "rlw: seed=-1 is out of range; give a whole number of 0 or more"),
        ("pcgrad", {"seed": 0.5}, "pcgrad: seed=0.5 is out of range"),
        ("mgda", {"epsilon": 0}, "mgda: epsilon=0 is out of range"),
        ("mgda", {"max_iters": 0}, "mgda: max_iters=0 is out of range; give a whole number of 1 or more"),
        ("aligned_mtl", {"scale": "max"}, "aligned_mtl: scale='max' is unknown; choose 'min' or 'median' or 'rmse'"),
        ("cagrad", {"c": -1}, "cagrad: c=-1 is out of range"),
        ("nash_mtl", {"max_norm": float("nan")}, "nash_mtl: max_norm=nan is out of range"),
        ("gradnorm", {"alpha": "1"}, "gradnorm: alpha='1' is out of range"),
        ("gradnorm", {"learning_rate": 0}, "gradnorm: learning_rate=0 is out of range"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(TransferKitError, match=words):
        BALANCERS[name](TASKS, **options)
