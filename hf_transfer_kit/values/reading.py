"""Plain JSON data back into the frozen values it was made of, by their type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, overload

T = TypeVar("T")


@overload
def read_value(kind: type[T], value: Any) -> T: ...
@overload
def read_value(kind: Any, value: Any) -> Any: ...
def read_value(kind: Any, value: Any) -> Any:
    """``value``, as ``json`` gives it, as what the hint ``kind`` says.

    Dataclasses are made of mappings, tuples of lists; fields that are missing keep their defaults, so that files of
    older versions are read. What a hint does not tell (``Any``) stays as it is.

    Args:
        kind: A dataclass, or any hint that is made of dataclasses, tuples, sequences, mappings, unions with None and
            plain values.
        value: Plain data.

    Raises:
        TypeError: When a field without a default is missing, or one is not known.
    """
    if value is None or kind is Any:
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        left = [part for part in inner if part is not types.NoneType]
        return read_value(left[0], value) if len(left) == 1 else value
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: read_value(hints[name], given) for name, given in value.items()})
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(read_value(inner[0], entry) for entry in value)
        return tuple(read_value(part, entry) for part, entry in zip(inner, value, strict=True))
    if origin is list or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return [read_value(inner[0], entry) for entry in value]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_key(inner[0], key): read_value(inner[1], entry) for key, entry in value.items()}
    return value


def _key(kind: type, key: str) -> Any:
    return int(key) if kind is int else key


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
