"""Rooms whose public words are loaded when first used, so that a word costs what it needs and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyRoom(ModuleType):
    """A package that imports the file of a public word when the word is first used."""

    _files: dict[str, str]  # word -> the module that defines it

    def __getattr__(self, name: str) -> object:
        if name not in self._files:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(self._files[name]), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # An imported file becomes an attribute of its folder; it must not hide the word that bears the file's name.
        if isinstance(value, ModuleType) and name in self._files:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._files})


def load_when_used(room: str, *, at_once: Iterable[str] = ()) -> None:
    """Makes the room a ``LazyRoom`` of the words that its ``__init__`` imports under ``if TYPE_CHECKING:``.

    So they stand once, where type checkers and editors read them too.

    Args:
        room: ``__name__`` of the room, whose ``__init__`` calls this last.
        at_once: Files of the room to import now, since they register classes with ``AutoModel`` and its kind.

    Raises:
        ImportError: The package was installed without its ``.py`` files.
    """
    module = sys.modules[room]
    module.__dict__["_files"] = _typed_words(module)
    module.__class__ = LazyRoom
    for file in at_once:
        import_module(f"{room}.{file}")


def _typed_words(room: ModuleType) -> dict[str, str]:
    """Word -> module, of the imports for type checkers."""
    loader: Any = room.__spec__ and room.__spec__.loader
    source = loader.get_source(room.__name__) if hasattr(loader, "get_source") else None
    if source is None:
        raise ImportError(
            f"{room.__name__} reads its public words from its __init__.py, which is not there; "
            "install hf_transfer_kit with its .py files."
        )
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {word.name: node.module for node in imports for word in node.names if node.module}
