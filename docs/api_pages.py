"""The API reference, read from the package without importing it: a page for each room, an entry for each public word.

A room is a folder whose ``__init__`` has ``__all__``, or a file beside them that has it; a new one is found by itself.
A word that several rooms name is told once, in the outermost of them, at home first; the others point there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import griffe

PACKAGE = "hf_transfer_kit"
ROOT = Path(__file__).resolve().parent.parent
FOLDER = "api"
_CODE = re.compile(r"``([\w.]+)(\(\))?``")
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


@dataclass(frozen=True)
class Word:
    """A public word.

    Args:
        name: As it is imported.
        room: The room that tells of it.
        path: Where it is defined: module and name.
        summary: The first line of its docstring.
    """

    name: str
    room: str
    path: str
    summary: str

    @property
    def link(self) -> str:
        """A cross-reference to its entry; a word that has none fails the build."""
        return f"[`{self.name}`][{self.path}]"


class Reference:
    """Rooms and words of a package that griffe has read."""

    def __init__(self, package: griffe.Module) -> None:
        self.package = package
        self.rooms = {room.path: room for room in _rooms(package)}

    @cached_property
    def words(self) -> dict[str, Word]:
        """Path of the definition -> the word, in the room that tells of it."""
        found: dict[str, Word] = {}
        for room in sorted(self.rooms, key=lambda path: (path.count("."), path)):
            for name in self.names(room):
                path = self.definition(room, name)
                if path not in found or (_top(found[path].room) != _top(path) == _top(room)):
                    found[path] = Word(name, room, path, _summary(self.package[path.removeprefix(f"{PACKAGE}.")]))
        return found

    @cached_property
    def shortest(self) -> dict[str, str]:
        """Path of the definition -> the place to import it from: the package where it names the word, else the room."""
        of_package = {self.definition(PACKAGE, name) for name in self.names(PACKAGE)}
        return {path: PACKAGE if path in of_package else word.room for path, word in self.words.items()}

    @cached_property
    def by_name(self) -> dict[str, Word]:
        """Words whose name means one thing in the whole package."""
        meant: dict[str, set[str]] = {}
        for path, word in self.words.items():
            meant.setdefault(word.name, set()).add(path)
        return {name: self.words[paths.pop()] for name, paths in meant.items() if len(paths) == 1}

    def names(self, room: str) -> list[str]:
        """What ``__all__`` of a room, or of the package, holds."""
        module = self.package if room == PACKAGE else self.rooms[room]
        return [str(name) for name in module.exports or ()]

    def definition(self, room: str, name: str) -> str:
        """Follows the imports of ``__init__`` files to where a word is defined."""
        place = room
        while name in (imports := _module(self.package, place).imports):
            place, _, name = imports[name].rpartition(".")
        return f"{place}.{name}"

    def of(self, room: str) -> list[Word]:
        """All words that a room names, whichever tells of them."""
        return [self.words[self.definition(room, name)] for name in self.names(room)]


def read_package() -> Reference:
    """The reference of the package in this checkout."""
    package = griffe.load(PACKAGE, search_paths=[ROOT])
    assert isinstance(package, griffe.Module)
    return Reference(package)


def pages(reference: Reference) -> dict[str, str]:
    """Place on the site -> Markdown of every page of the reference."""
    return {f"{FOLDER}/index.md": _index(reference)} | {
        page_of(room): _room_page(reference, room) for room in reference.rooms
    }


def page_of(room: str) -> str:
    """Place of a room's page: ``api/tuning.freezing.md``."""
    return f"{FOLDER}/{room.removeprefix(f'{PACKAGE}.')}.md"


def navigation(reference: Reference) -> list[dict]:
    """The pages as MkDocs lists them; rooms inside a room stand below it."""
    tops = sorted(room for room in reference.rooms if room.count(".") == 1)
    entries: list[dict] = [{"Overview": f"{FOLDER}/index.md"}]
    for top in tops:
        inside = sorted(room for room in reference.rooms if room.startswith(f"{top}."))
        title = top.removeprefix(f"{PACKAGE}.")
        below = [{room.removeprefix(f"{top}."): page_of(room)} for room in inside]
        entries.append({title: [{title: page_of(top)}, *below] if below else page_of(top)})
    return entries


class LinkedDocstrings(griffe.Extension):
    """Makes links of public words in docstrings, and examples that say where their word is imported from."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        if pkg.path != PACKAGE:
            return
        reference = Reference(pkg)
        for member in _described(pkg):
            if isinstance(member, griffe.Class) and any(str(base) == "NamedTuple" for base in member.bases):
                _give_parameters(member)
            if member.docstring:
                member.docstring.value = _with_links(member, reference)


def _with_links(member: griffe.Object, reference: Reference) -> str:
    assert member.docstring
    prose, *example = _EXAMPLE.split(member.docstring.value, maxsplit=1)

    def linked(found: re.Match) -> str:
        code = f"`{found[1]}{found[2] or ''}`"
        word = reference.by_name.get(found[1])
        return code if word is None or f"{member.path}.".startswith(f"{word.path}.") else f"[{code}][{word.path}]"

    prose = _CODE.sub(linked, prose)
    if not example:
        return prose
    place = reference.shortest.get(member.path)
    line = f"\n    >>> from {place} import {member.name}" if place else ""
    return f"{prose}Examples:{line}{example[0]}"  # the heading that griffe knows


def _give_parameters(named_tuple: griffe.Class) -> None:
    """The ``__init__`` that a NamedTuple gets of its fields, as griffe itself does it for dataclasses."""
    kind = griffe.ParameterKind.positional_or_keyword
    fields = [member for member in named_tuple.members.values() if isinstance(member, griffe.Attribute)]
    parameters = [
        griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value) for field in fields
    ]
    named_tuple.set_member(
        "__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters), lineno=0, endlineno=0)
    )


def _index(reference: Reference) -> str:
    shown = reference.of(PACKAGE)
    tops = [room for room in reference.rooms if room.count(".") == 1]
    parts = [
        "# API reference",
        f"What `{PACKAGE}` itself offers, by the room that it lives in; each room has further words on its page. The "
        "examples run as tests. Besides what they import they use small things that are given there: `model`, `args`, "
        "`train`, `features` and the like.",
    ]
    for top in sorted(tops):
        words = [word for word in shown if _top(word.room) == _top(top)]
        title = top.removeprefix(f"{PACKAGE}.")
        parts += [f"## [{title}]({page_of(top).removeprefix(f'{FOLDER}/')})", _prose(reference.rooms[top])]
        parts += [_table(words)] if words else []
    return "\n\n".join(parts) + "\n"


def _room_page(reference: Reference, room: str) -> str:
    words = reference.of(room)
    own = [word for word in words if word.room == room]
    inside = sorted(path for path in reference.rooms if path.startswith(f"{room}."))
    parts = [f"# {room.removeprefix(f'{PACKAGE}.')}", _prose(reference.rooms[room])]
    if inside:
        links = (f"[{path.removeprefix(f'{room}.')}]({page_of(path).removeprefix(f'{FOLDER}/')})" for path in inside)
        parts.append(f"Rooms inside: {', '.join(links)}.")
    parts += [f"Imported from `{room}`.", _table(words)]
    parts += [f"::: {word.path}" for word in own]
    return "\n\n".join(parts) + "\n"


def _table(words: Iterable[Word]) -> str:
    lines = [f"| {word.link} | {word.summary.replace('|', '&#124;')} |" for word in words]
    return "\n".join(["| word | what it is |", "|---|---|", *lines])


def _prose(module: griffe.Module) -> str:
    return _CODE.sub(r"`\1\2`", module.docstring.value) if module.docstring else ""


def _summary(member: griffe.Object | griffe.Alias) -> str:
    text = member.docstring.value if member.docstring else ""
    return text.strip().partition("\n")[0].replace("``", "`")


def _top(path: str) -> str:
    return path.split(".")[1]


def _module(package: griffe.Module, path: str) -> griffe.Module:
    return package if path == PACKAGE else package[path.removeprefix(f"{PACKAGE}.")]


def _rooms(package: griffe.Module) -> Iterator[griffe.Module]:
    for module in package.modules.values():
        if not module.is_alias and (module.is_init_module or package.path == PACKAGE):
            if module.exports is not None:
                yield module
            yield from _rooms(module)


def _described(member: griffe.Object) -> Iterator[griffe.Object]:
    yield member
    for inside in member.members.values():
        if not inside.is_alias:
            yield from _described(inside)
