"""Every public name shows itself at work: an example in its docstring, which runs.

Public are the classes and functions in ``__all__`` of the package and of its folders. A dataclass that a public function
gives back, by its annotation, or that such a one holds, is shown by that function's example and needs none of its own,
unless it is a word of the package itself. Constants need none.
"""

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
from example_things import THINGS

import hf_transfer_kit

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public_members():
    """(room, name) -> class or function, each once, in the outermost room that names it."""
    folders = [found for found in pkgutil.walk_packages(hf_transfer_kit.__path__, "hf_transfer_kit.") if found.ispkg]
    rooms = [hf_transfer_kit, *(importlib.import_module(folder.name) for folder in folders)]
    members, seen = {}, []
    for room in rooms:
        for name in getattr(room, "__all__", ()):
            member = getattr(room, name)
            if (inspect.isclass(member) or inspect.isroutine(member)) and member not in seen:
                seen.append(member)
                members[room.__name__, name] = member
    return members


def own_functions(member):
    """The function itself, or a class's own public methods."""
    if not inspect.isclass(member):
        return [inspect.unwrap(member)]
    inside = [getattr(value, "fget", None) or getattr(value, "__func__", value) for value in vars(member).values()]
    return [value for value in inside if inspect.isfunction(value) and not value.__name__.startswith("_")]


def words(annotation):
    return set(re.findall(r"\w+", annotation if isinstance(annotation, str) else repr(annotation)))


def given_back(members):
    """Names of dataclasses that public functions give back, and of what these hold."""
    kinds = {name: kind for (_, name), kind in members.items() if dataclasses.is_dataclass(kind)}
    functions = [function for member in members.values() for function in own_functions(member)]
    found = set().union(*(words(function.__annotations__.get("return", "")) for function in functions))
    found &= set(kinds)
    while True:
        held = set().union(*(words(field.type) for name in found for field in dataclasses.fields(kinds[name])))
        if (held & set(kinds)) <= found:
            return found
        found |= held & set(kinds)


MEMBERS = public_members()
SHOWN_BY_OTHERS = given_back(MEMBERS)
WITH_EXAMPLE = {key: member for key, member in MEMBERS.items() if ">>> " in (member.__doc__ or "")}


def test_every_public_name_has_an_example():
    missing = [
        f"{room}.{name}"
        for room, name in MEMBERS
        if (room, name) not in WITH_EXAMPLE and (room == "hf_transfer_kit" or name not in SHOWN_BY_OTHERS)
    ]
    assert not missing, f"{len(missing)} names have no example (``Example:`` and ``>>> ``): {', '.join(missing)}"


@pytest.mark.parametrize(("room", "name"), [pytest.param(*key, id=".".join(key)) for key in WITH_EXAMPLE])
def test_the_example_runs(room, name, tmp_path, monkeypatch, registries_as_before):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    text = inspect.getdoc(MEMBERS[room, name])
    assert "Example:\n" in text
    examples = doctest.DocTestParser().get_examples(text)
    nodes = [node for example in examples for node in ast.walk(ast.parse(example.source))]
    for module in {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}:
        pytest.importorskip(module)
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert name in used, "the example does not use what it stands at"
    test = doctest.DocTest(examples, namespace(room, MEMBERS[room, name], used), f"{room}.{name}", None, None, text)
    said = []
    doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def namespace(room, member, used):
    """What the example uses: things that are given, and words of the package, of its room and of where it is at home."""
    home = ".".join(member.__module__.split(".")[:2])
    places = [hf_transfer_kit, *(importlib.import_module(place) for place in dict.fromkeys((room, home)))]
    found = {name: THINGS[name]() for name in used if name in THINGS}
    for place in places:
        found |= {name: getattr(place, name) for name in used if name in getattr(place, "__all__", ())}
    return found
