"""Members by name, the kit's own and those that others register; plugins that register them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Generic, Protocol, TypeVar, cast

from hf_transfer_kit.errors import SettingsError, first_line


class Member(Protocol):
    name: ClassVar[str]


class Summarised(Protocol):
    summary: ClassVar[str]


M = TypeVar("M", bound=Member)
PLUGINS = "hf_transfer_kit.plugins"
"""Group of the entry points of packages that register members: each names a module, or a function to call."""
_LOADED: list[str] = []


class Registry(dict[str, type[M]], Generic[M]):
    """Name -> class, in the order in which they were registered.

    Args:
        what: A member, for people.
        base: What every member is a subclass of.
        members: The kit's own.
    """

    def __init__(self, what: str, base: type, members: Iterable[type[M]]) -> None:
        super().__init__({member.name: member for member in members})
        self.what = what
        self.base = base

    def register(self, member: type[M]) -> type[M]:
        """Adds a class under its ``name``, and returns it: usable as a decorator.

        Raises:
            SettingsError: When it is no subclass of the base, has no name, or its name is another's.
        """
        self.check(member)
        self[member.name] = member
        return member

    def check(self, member: type[M]) -> None:
        """Refuses what ``register`` would refuse, and adds nothing."""
        name = getattr(member, "name", None)
        if not (isinstance(member, type) and issubclass(member, self.base)):
            raise SettingsError(
                f"{member!r} is no {self.what}: register a subclass of {self.base.__module__}.{self.base.__name__}."
            )
        if not isinstance(name, str) or not name.isidentifier():
            raise SettingsError(f"{member.__name__} has name={name!r}; a {self.what} is called by a word.")
        if self.get(name, member) is not member and _place(self[name]) != _place(member):
            raise SettingsError(f"{name!r} is a {self.what} already, {_place(self[name])}. Choose another name.")


class Summaries(Mapping[str, str]):
    """Name -> one line for people: of a registry's members, which may grow, and of further names.

    Args:
        members: Name -> class with a ``summary``.
        first: Further names that stand before them.
        last: Further names that stand behind them.
    """

    def __init__(
        self,
        members: Mapping[str, type[Summarised]],
        *,
        first: Mapping[str, str] | None = None,
        last: Mapping[str, str] | None = None,
    ) -> None:
        self._members, self._first, self._last = members, dict(first or {}), dict(last or {})

    def __getitem__(self, name: str) -> str:
        own = self._first | self._last
        return own[name] if name in own else self._members[name].summary

    def __iter__(self) -> Iterator[str]:
        return iter([*self._first, *self._members, *self._last])

    def __len__(self) -> int:
        return len(self._first) + len(self._members) + len(self._last)


def load_plugins(files: Iterable[str | Path] = ()) -> list[ModuleType]:
    """Imports what registers members: installed packages with an entry point of ``PLUGINS``, and Python files.

    Args:
        files: Paths of Python files, run once each.

    Returns:
        The modules of the files.

    Raises:
        SettingsError: When one cannot be imported, with what it said.
    """
    for entry in entry_points(group=PLUGINS):
        try:
            found = entry.load()
            if not isinstance(found, ModuleType):
                found()
        except Exception as error:
            raise SettingsError(f"The plugin {entry.name} ({entry.value}) cannot be loaded: {_said(error)}") from error
    return [_imported(Path(path)) for path in files]


def loaded_plugins() -> tuple[str, ...]:
    """Paths of the files that ``load_plugins`` ran in this process."""
    return tuple(_LOADED)


def _imported(path: Path) -> ModuleType:
    if not path.is_file() or path.suffix != ".py":
        raise SettingsError(f"--plugin {path}: there is no such Python file.")
    name = f"hf_transfer_kit_plugin_{path.stem}"
    specification = cast(ModuleSpec, importlib.util.spec_from_file_location(name, path))  # .py has a loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # so that what it defines can be pickled and hashed
    try:
        cast(Loader, specification.loader).exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SettingsError(f"--plugin {path} cannot be loaded: {_said(error)}") from error
    _LOADED.append(str(path.absolute()))
    return module


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _place(member: type) -> str:
    return f"{member.__module__}.{member.__qualname__}"
