"""Plain data read back by type hints: every frozen value the rooms hand to each other."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from hf_transfer_kit import values
from hf_transfer_kit.values.reading import read_value

VALUES = [
    kind
    for _, kind in inspect.getmembers(values, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind not in (values.LayerGroup, values.LayerGroups)  # they hold modules
]


def made(hint: Any, depth: int = 0) -> Any:
    """Some value of a hint."""
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{field.name: made(hints[field.name], depth + 1) for field in dataclasses.fields(hint)})
    if origin in (Union, types.UnionType):
        return made(inner[0], depth)
    if origin is tuple:
        return tuple(made(part, depth) for part in (inner[:1] * 2 if inner[1:] == (...,) else inner))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {(3 if inner[0] is int else f"name {n}"): made(inner[1], depth) for n in range(1)}
    if origin is list or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return [made(inner[0], depth)]
    return {int: 3, float: 0.1 + 0.2, str: "text", bool: True}.get(hint, "anything")


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_what_json_made_of_a_value_is_the_value_again(kind):
    value = made(kind)
    assert read_value(kind, json.loads(json.dumps(dataclasses.asdict(value)))) == value


def test_missing_fields_keep_their_defaults_and_unknown_ones_are_refused():
    old = {"name": "healthy", "finding": "well"}
    assert read_value(values.Diagnosis, old) == values.Diagnosis("healthy", "well")
    assert read_value(values.Diagnosis | None, None) is None
    with pytest.raises((TypeError, KeyError)):
        read_value(values.Diagnosis, {**old, "more": 1})
    with pytest.raises(TypeError):
        read_value(values.Diagnosis, {"name": "healthy"})
