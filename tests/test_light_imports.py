"""A public word loads what it needs: beside Trainer's own libraries nothing for a callback, and little for the rest."""

import importlib
import json
import py_compile
import subprocess
import sys

import pytest

# Forks of one process that has imported Trainer: each imports a room, then its words one after the other. Trainer loads
# parts of these libraries itself; what counts is the rest, to the second part of a module's name.
PROBE = """
import json, os, sys
from importlib import import_module
from transformers import CONFIG_MAPPING, Trainer

def loaded():
    heavy = {"timm", "torchvision", "sklearn", "scipy", "matplotlib", "torchjd", "peft", "datasets", "evaluate"}
    return {".".join(name.split(".")[:2]) for name in sys.modules if name.split(".")[0] in heavy}

before, kinds = loaded(), set(CONFIG_MAPPING.keys())
for room in sys.argv[1:]:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, room
        continue
    module = import_module(f"hf_transfer_kit.{room}")
    kinds, found, known = sorted(set(CONFIG_MAPPING.keys()) - kinds), {"": sorted(loaded() - before)}, loaded()
    for word in module.__all__:
        getattr(module, word)
        found[word], known = sorted(loaded() - known), loaded()
    print(json.dumps([room, kinds, found]), flush=True)
    os._exit(0)
"""
# Room -> libraries beside Trainer's that its words load, all together.
LIBRARIES = {
    "values": set(),
    "data": set(),
    "backbones": set(),
    "features": set(),
    "tuning": set(),
    "adaptation": set(),
    "multitask": set(),
    "zero_shot": {"evaluate", "scipy"},
    "metrics": {"evaluate", "scipy"},  # evaluate.Metric is the metrics' class; it loads scipy.stats
    "selection": {"evaluate", "scipy"},
    "reports": {"evaluate", "scipy"},
    "hub": {"evaluate", "scipy"},
    "predicting": {"evaluate", "scipy"},
}
OWN_NETWORKS = {"dann_mnist", "torchvision", "joint_tower", "pooled_encoder", "pooled_sounds"}
# Room -> models that AutoConfig knows once it is imported, as model cards say.
REGISTERED = {
    "backbones": OWN_NETWORKS,
    "adaptation": OWN_NETWORKS | {"domain_adversarial", "several_sources"},
    "multitask": OWN_NETWORKS | {"multi_task"},
    "zero_shot": OWN_NETWORKS | {"zero_shot"},
}


@pytest.fixture(scope="module")
def beside_trainer():
    """Room -> (models it registers, word -> modules that it was the first to load; the room itself is the word '')."""
    run = subprocess.run([sys.executable, "-c", PROBE, *LIBRARIES], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {room: (kinds, found) for room, kinds, found in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("room", LIBRARIES)
def test_words_load_the_libraries_of_their_room_alone(room, beside_trainer):
    _, found = beside_trainer[room]
    assert found[""] == [], "the room alone loads libraries"
    others = {word: [m for m in modules if m.split(".")[0] not in LIBRARIES[room]] for word, modules in found.items()}
    assert {word: modules for word, modules in others.items() if modules} == {}


@pytest.mark.parametrize("room", REGISTERED)
def test_a_room_registers_its_models_when_it_is_imported(room, beside_trainer):
    assert set(beside_trainer[room][0]) == REGISTERED[room]


@pytest.mark.parametrize("room", ["hf_transfer_kit", *(f"hf_transfer_kit.{room}" for room in LIBRARIES)])
def test_the_words_for_type_checkers_are_the_public_ones(room):
    module = importlib.import_module(room)
    assert sorted(module._files) == sorted(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'no_such_word'"):
        _ = module.no_such_word


ROOM = """
from typing import TYPE_CHECKING
from hf_transfer_kit.lazy_words import load_when_used
if TYPE_CHECKING:
    from made_up_room.measure import measure, unit
    from made_up_room.shape import Shape
__all__ = ["Shape", "measure", "unit"]
load_when_used(__name__, at_once=["shape"])
"""


@pytest.fixture
def made_up_room(tmp_path, monkeypatch):
    """A room whose file ``measure`` has a word of that name, and that registers ``Shape`` at once."""
    folder = tmp_path / "made_up_room"
    folder.mkdir()
    (folder / "__init__.py").write_text(ROOM)
    (folder / "measure.py").write_text("unit = 'cm'\ndef measure():\n    return 3\n")
    (folder / "shape.py").write_text("class Shape:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name="made_up_room": importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up_room"]:
        del sys.modules[name]


def test_a_word_loads_its_file_and_no_other(made_up_room):
    room = made_up_room()
    assert "made_up_room.shape" in sys.modules  # asked for at once
    assert "made_up_room.measure" not in sys.modules
    assert room.unit == "cm"
    assert "unit" in vars(room)  # found without asking the next time
    assert {"Shape", "measure", "unit"} <= set(dir(room))


def test_a_file_does_not_hide_the_word_that_bears_its_name(made_up_room):
    made_up_room("made_up_room.measure")
    assert made_up_room().measure() == 3
    made_up_room("made_up_room.measure")
    assert made_up_room().measure() == 3
    assert made_up_room().shape.Shape is made_up_room().Shape  # other files are attributes as ever


def test_a_word_may_be_replaced_and_put_back(made_up_room, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("made_up_room.measure", lambda: 4)
        assert made_up_room().measure() == 4
    assert made_up_room().measure() == 3


def test_a_package_without_its_sources_says_so(made_up_room, tmp_path):
    compiled = tmp_path / "made_up_room" / "__init__.py"
    py_compile.compile(str(compiled), cfile=str(compiled.with_suffix(".pyc")))
    compiled.unlink()
    with pytest.raises(ImportError, match=r"made_up_room reads its public words from its __init__\.py, which is not"):
        made_up_room()
