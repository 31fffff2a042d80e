"""Importing the package is free and changes nothing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import hf_transfer_kit

PROBE = """
import sys, time, os, warnings, logging, random
before = (dict(os.environ), list(warnings.filters), logging.getLogger().level, random.getstate())
started = time.perf_counter()
import hf_transfer_kit
seconds = time.perf_counter() - started
after = (dict(os.environ), list(warnings.filters), logging.getLogger().level, random.getstate())
assert before == after, "the import changed something"
heavy = {"torch", "transformers", "datasets", "timm", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
print(seconds)
"""


def test_import_is_lazy_and_has_no_side_effects():
    output = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
    assert float(output) <= 0.2


def test_every_public_word_exists():
    for word in hf_transfer_kit.__all__:
        assert getattr(hf_transfer_kit, word) is not None
    assert set(hf_transfer_kit.__all__) <= set(dir(hf_transfer_kit))


def test_an_unknown_word_is_an_attribute_error():
    assert not hasattr(hf_transfer_kit, "no_such_word")


def test_the_wheel_carries_every_template_of_the_cards_and_nothing_else_of_their_folder():
    root = Path(__file__).parent.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    templates = {f"model_cards/{path.name}" for path in (root / "model_cards").glob("*.jinja")}
    assert shipped == {name: f"hf_transfer_kit/{name}" for name in templates}
