"""What a package index shows: README without what only a checkout can show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytest.importorskip("hatch_fancy_pypi_readme", reason="the long description needs hatch-fancy-pypi-readme")


@pytest.fixture(scope="module")
def shown():
    command = [sys.executable, "-m", "hatch_fancy_pypi_readme", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_it_has_no_pictures_no_links_into_the_repository_and_no_comments(shown):
    links = re.findall(r"\]\(([^)]*)\)", re.sub(r"^```.*?^```$", "", shown, flags=re.DOTALL | re.MULTILINE))
    assert not [link for link in links if not link.startswith("https://") and not link.startswith('"')]
    assert "![" not in shown
    assert "<!--" not in shown
    assert not re.search(r"\bguide\b(?!s)", shown, re.IGNORECASE)
    assert "constraints.txt" not in shown


def test_it_says_what_the_readme_says(shown):
    readme = (ROOT / "README.md").read_text()
    assert shown.startswith(readme[: readme.index("## Two commands")])
    for heading in ("## Install", "## Recipes", "## In your own Trainer script", "## Some results", "## Read on"):
        assert f"\n{heading}\n" in shown
    for name in ("run", "advise", "adapt", "multitask", "zero-shot", "depth", "predict"):
        assert f"hf-transfer {name}" in shown
    code = re.search(r"```python\n.*?```", readme, re.DOTALL)[0]
    assert code in shown
    figures = re.findall(r"\d+\.\d+ ?%?", readme[readme.index("## Some results") : readme.index("[What was measured]")])
    assert len(figures) > 15
    assert all(figure in shown for figure in figures)


def test_files_that_it_names_are_in_the_source_distribution(shown):
    named = re.findall(r"`([\w./]+(?:\.md|/))`", shown[shown.index("## Read on") :])
    assert len(named) == 5
    packed = re.search(r"sdist\]\ninclude = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    for name in named:
        assert (ROOT / name).exists()
        assert f'"{name.split("/")[0]}"' in packed
