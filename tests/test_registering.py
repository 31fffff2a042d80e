"""Registries hold every member that has a file, by its name, with a line for people."""

import importlib
import inspect
import pkgutil

import pytest

from hf_transfer_kit.adaptation import objectives
from hf_transfer_kit.adaptation.objectives import METHODS, OBJECTIVES, SOURCE_FREE, Objective
from hf_transfer_kit.multitask import balancing
from hf_transfer_kit.multitask.balancing import BALANCERS, Balancer
from hf_transfer_kit.selection import strategies
from hf_transfer_kit.selection.strategies import STRATEGIES, Strategy

ROOMS = [(strategies, Strategy, STRATEGIES), (objectives, Objective, METHODS), (balancing, Balancer, BALANCERS)]


def members_with_a_file(room, base):
    """Classes with a name of their own that the room's files define."""
    modules = [
        importlib.import_module(f"{room.__name__}.{found.name}") for found in pkgutil.iter_modules(room.__path__)
    ]
    classes = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    return {kind for kind in classes if issubclass(kind, base) and "name" in vars(kind)}


@pytest.mark.parametrize(("room", "base", "registry"), ROOMS, ids=lambda value: getattr(value, "__name__", ""))
def test_no_file_is_forgotten(room, base, registry):
    found = members_with_a_file(room, base)
    assert found
    assert found == set(registry.values())


@pytest.mark.parametrize(
    "registry", [registry for *_, registry in ROOMS], ids=["strategies", "objectives", "balancers"]
)
def test_members_stand_under_their_names_with_a_line_for_people(registry):
    for name, member in registry.items():
        assert member.name == name
        assert member.summary
        assert "\n" not in member.summary


def test_methods_without_a_source_say_so():
    assert all(objective.needs_source for name, objective in OBJECTIVES.items() if name not in SOURCE_FREE)
    assert not any(objective.needs_source for name, objective in SOURCE_FREE.items() if name not in OBJECTIVES)
