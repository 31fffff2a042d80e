"""Ways of training several tasks, read from text."""

import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.multitask import BALANCERS
from hf_transfer_kit.selection.multitasking import METHODS, make_method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_defaults(name):
    method = make_method(name)
    assert (method.text, method.name, method.balancing, method.mixing) == (name, name, "fixed", "equal")
    assert method.continues == (name in ("sequential", "lwf", "replay"))


@pytest.mark.parametrize("name", [name for name in BALANCERS if name not in ("cagrad", "nash_mtl")])
def test_every_balancer_can_be_named(name):
    method = make_method(f"multitask:balancing={name},mixing=temperature,temperature=3,shared_from=2")
    assert (method.mixing, method.temperature, method.shared_from) == ("temperature", 3, 2)
    balancer = method.balancer(["x", "y"], {"x": 1.0, "y": 1.0})
    assert (balancer.name, balancer.tasks) == (name, ("x", "y"))


def test_options_reach_where_they_belong():
    assert make_method("replay:rows=5").rows == 5
    assert make_method("lwf:weight=0.5").weight == 0.5
    method = make_method("multitask:balancing=gradnorm,alpha=0.5")
    assert method.balancer(["x", "y"], {}).alpha == 0.5
    fixed = make_method("multitask").balancer(["x", "y"], {"x": 2.0, "y": 1.0})
    assert fixed.task_weights == {"x": 2.0, "y": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shared", "no method 'shared'; choose from single, multitask"),
        ("multitask:balancing=fair", "balancing='fair' is unknown; choose 'fixed'"),
        ("multitask:alpha=1", "alpha is no option of multitask with balancing=fixed"),
        ("multitask:balancing=gradnorm,alpha=-1", "alpha=-1 is out of range"),
        ("single:mixing=equal", "mixing is no option of single; its options are shared_from"),
        ("multitask:rows=3", "rows is no option of multitask"),
        ("replay:rows=0", "rows=0 must be a whole number, at least 1"),
        ("lwf:weight=0", "weight=0 is out of range; give a number above 0"),
        ("multitask:mixing=some", "mixing='some' is unknown"),
        ("multitask:shared_from=-1", "shared_from=-1 must be a whole number, at least 0"),
        ("multitask:equal", "'equal' is no option"),
    ],
)
def test_what_does_not_fit_is_a_sentence(text, message):
    with pytest.raises(SettingsError, match=message):
        make_method(text)


def test_gradients_of_tasks_on_different_rows_are_summed_unless_told_otherwise():
    tasks = ["x", "y"]
    assert make_method("multitask:balancing=pcgrad").balancer(tasks, {}, own_rows=True).sum_rows
    assert not make_method("multitask:balancing=pcgrad").balancer(tasks, {}).sum_rows
    assert not make_method("multitask:balancing=pcgrad,sum_rows=false").balancer(tasks, {}, own_rows=True).sum_rows


def test_balancers_that_find_weights_take_none():
    method = make_method("multitask:balancing=uncertainty")
    with pytest.raises(SettingsError, match="uncertainty finds the weights itself, but x has a weight of its own"):
        method.balancer(["x", "y"], {"x": 2.0, "y": 1.0})
