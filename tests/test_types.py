"""Types travel with the package: the marker is there, and every public name's signature is annotated in full."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import hf_transfer_kit

FOLDER = Path(hf_transfer_kit.__file__).parent
ROOMS = [name for _, name, is_room in pkgutil.walk_packages(hf_transfer_kit.__path__, "hf_transfer_kit.") if is_room]


def unannotated(function):
    """Parameters of a function without a type, and ``return`` where that has none."""
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    bare = [name for name in missing if name not in ("self", "cls")]
    return bare if signature.return_annotation is not signature.empty else [*bare, "return"]


def written_functions(value):
    """The functions of a public name that stand in the package's files: itself, or what its class defines."""
    members = vars(value).values() if inspect.isclass(value) else [value]
    functions = [inspect.unwrap(getattr(m, "fget", None) or getattr(m, "__func__", m)) for m in members]
    own = [f for f in functions if inspect.isfunction(f) and Path(f.__code__.co_filename).is_relative_to(FOLDER)]
    return [f for f in own if f.__name__ != "<lambda>"]  # a field's default has the field's type


@pytest.mark.parametrize("room", ["hf_transfer_kit", *ROOMS])
def test_every_public_signature_is_annotated(room):
    module = importlib.import_module(room)
    functions = [f for name in getattr(module, "__all__", ()) for f in written_functions(getattr(module, name))]
    assert {f.__qualname__: bare for f in functions if (bare := unannotated(f))} == {}


def test_functions_without_types_would_be_found():
    def half(first: int, second, *, third=0) -> int:
        return first

    assert unannotated(half) == ["second", "third"]
    assert unannotated(lambda value: value) == ["value", "return"]


def test_the_marker_of_a_typed_package_lies_in_it():
    assert (FOLDER / "py.typed").is_file()
