"""Arguments of another kind than they are said to be, refused in a sentence: annotations that hold when called."""

from __future__ import annotations

import collections.abc
import functools
import inspect
from collections.abc import Callable, ItemsView, Mapping
from numbers import Integral
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from hf_transfer_kit.errors import SettingsError, TransferKitError
from hf_transfer_kit.real_numbers import LARGEST_INT, is_finite, is_too_large

P = ParamSpec("P")
R = TypeVar("R")
_WORDS: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    Path: "a path",
    NoneType: "",
    collections.abc.Mapping: "a mapping",
    collections.abc.Sequence: "a list",
    collections.abc.Collection: "a list",
    collections.abc.Callable: "a function",
    nn.Module: "a network",
}
_SEVERAL = {bool: "truth values", int: "whole numbers", float: "finite numbers", str: "texts"}
_CLASSES_OF = ("hf_transfer_kit", "transformers")
_MOST_ENTRIES = 1_000


def checked_arguments(*, own_words_first: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator by which arguments of the wrong kind are refused: a text for a number, NaN, a number for a list.

    Only what ``_WORDS`` names and classes of this kit and of transformers are looked at; every other annotation holds
    for any value. A whole number that 64 bits do not hold is refused before ``own_words_first`` counts.

    Args:
        own_words_first: Call the function nevertheless, and let it refuse the value in words of its own: for
            constructors and functions that look at their arguments before they do anything.

    Raises:
        SettingsError: From the function, naming the argument and what it should be.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        owner = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            hints = hints_of(function)
            given = signature.bind(*args, **kwargs).arguments  # TypeError: a wrong signature
            try:
                check_types(owner, given, hints)
            except SettingsError as wrong:
                if not own_words_first or any(map(is_too_large, given.values())):
                    raise
                try:
                    function(*args, **kwargs)
                except TransferKitError:
                    raise
                except Exception as error:
                    raise wrong from error
                raise
            return function(*args, **kwargs)

        return checked

    return decorated


def check_types(owner: str, given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuses values of another kind than their hint says; names without a hint are let pass.

    Args:
        owner: Whose they are, for the sentence.
        given: Name -> value.
        hints: Name -> annotation.

    Raises:
        SettingsError: With what the value should be; numbers must be finite.
    """
    for name, value in given.items():
        hint = hints.get(name, Any)
        if not _fits(value, hint):
            wanted = " or ".join(dict.fromkeys(filter(None, map(_in_words, _parts(hint)))))
            limit = f", at most {LARGEST_INT} in size" if is_too_large(value) else ""
            raise SettingsError(f"{owner}: {name}={_short(value)} is not what it should be; give {wanted}{limit}.")


@functools.cache
def hints_of(owner: Callable[..., Any]) -> Mapping[str, Any]:
    """Annotations of a function's arguments, or of a class's fields and constructor; none where one cannot be had."""
    try:
        found = get_type_hints(owner)
        constructor: Any = getattr(owner, "__init__")  # noqa: B009 - of a class, whose own it is
        return found | get_type_hints(constructor) if isinstance(owner, type) else found
    except NameError:  # imported for type checkers alone
        return {}


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _kind(part: Any) -> Any:
    """What stands before the brackets; of a Protocol of rows or of functions, a list or a function."""
    kind = get_origin(part) or part
    if getattr(kind, "_is_protocol", False):
        asked = {name for each in kind.__mro__ for name in vars(each)}
        kinds = {"__getitem__": collections.abc.Sequence, "__call__": collections.abc.Callable}
        return next((known for name, known in kinds.items() if name in asked), kind)
    return kind


def _in_words(part: Any) -> str:
    """A kind, and of lists and mappings of plain values what these are."""
    entries = get_args(part) if _kind(part) is not collections.abc.Callable else ()
    inner = [_SEVERAL[entry] for entry in entries if entry in _SEVERAL]
    words = _WORDS.get(_kind(part)) or f"a {_kind(part).__name__}"
    return f"{words} of {' to '.join(inner)}" if entries and len(inner) == len(entries) else words


def _fits(value: object, hint: Any) -> bool:
    parts = _parts(hint)
    return not all(_is_known(_kind(part)) for part in parts) or any(_is_a(value, part) for part in parts)


def _is_known(kind: Any) -> bool:
    """Whether a value can be said to be of this kind or not."""
    own = isinstance(kind, type) and not getattr(kind, "_is_protocol", False)
    return kind in _WORDS or (own and kind.__module__.partition(".")[0] in _CLASSES_OF)


def _is_a(value: object, part: Any) -> bool:
    kind = _kind(part)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, Integral) and not is_too_large(value)
    if kind is float:
        return is_finite(value)
    if kind is collections.abc.Callable:
        return callable(value)
    if kind is collections.abc.Mapping:
        return isinstance(value, Mapping) and _entries_fit(value.items(), part)
    if kind in (collections.abc.Sequence, collections.abc.Collection):  # arrays and datasets are lists, too
        needed = "__getitem__" if kind is collections.abc.Sequence else "__iter__"
        is_list = hasattr(value, "__len__") and hasattr(value, needed) and not isinstance(value, str | bytes | Mapping)
        return is_list and _entries_fit(value, part)
    return isinstance(value, kind)


def _entries_fit(entries: Any, part: Any) -> bool:
    """Whether a short list or mapping of plain values holds such values; rows of data are not gone through."""
    kinds = get_args(part)
    if not all(_kind(inner) in (bool, int, float, str, NoneType, Any) for kind in kinds for inner in _parts(kind)):
        return True
    if not isinstance(entries, list | tuple | set | ItemsView) or len(entries) > _MOST_ENTRIES or not kinds:
        return True
    if isinstance(entries, ItemsView):
        return all(_fits(key, kinds[0]) and _fits(value, kinds[1]) for key, value in entries)
    return all(_fits(entry, kinds[0]) for entry in entries)


def _short(value: object) -> str:
    """A value in a sentence: one line, not a page."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."
