"""Fits the advisor to the measured grid, tests it on families of datasets left out, and writes the package's data.

    python scripts/benchmarks/advisor_fit.py --output_dir outputs/advisor_grid --write

Reads what ``advisor_grid.py`` left in the folder. Prints a Markdown table of every cell with what was advised for it by
the other families' cases alone, what that lost and what it lost with trials, and below it the means, each family's, and
the part that is chance (``across_seeds``: the same cell's best by its other seeds). ``--write`` puts cases and settings
into the package.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from transformers import HfArgumentParser

import hf_transfer_kit
from hf_transfer_kit.selection.advice import Case, Experience, evaluate_advice, fit_settings
from hf_transfer_kit.values import CaseMeasures

COMMAND = "advisor_grid.py --minilm MINILM; advisor_fit.py --write (scripts/benchmarks)"
_FAMILIES = {"pacs": "pacs", "mnist": "mnist", "books": "amazon", "kitchen": "amazon"}


@dataclass
class FitArguments:
    """Where the grid is."""

    output_dir: str = field(default="outputs/advisor_grid", metadata={"help": "Folder of cells/ and measures/."})
    write: bool = field(default=False, metadata={"help": "Replace the cases and settings in the package."})


def main() -> None:
    (options,) = HfArgumentParser(FitArguments).parse_args_into_dataclasses()
    cases = read_cases(Path(options.output_dir))
    evaluation = evaluate_advice(cases)
    settings = fit_settings(cases)
    print(markdown(cases, evaluation), settings, json.dumps({**evaluation, "cells": "above"}, indent=1), sep="\n\n")
    if options.write:
        place = Path(hf_transfer_kit.__file__).parent / "selection" / "advice" / "cases.json"
        experience = Experience(tuple(cases), settings, COMMAND, evaluation)
        place.write_text(json.dumps(experience.to_json(), indent=1, default=list) + "\n")


def read_cases(folder: Path) -> list[Case]:
    """One case a source, target and size, over its seeds."""
    found = defaultdict(list)
    for path in sorted((folder / "cells").glob("*.json")):
        measured = folder / "measures" / path.name
        if measured.exists():
            cell = json.loads(path.read_text())
            key = (cell["source"], cell["target"], cell["per_class"])
            found[key].append((cell, json.loads(measured.read_text())))
    return [_case(*key[:2], runs) for key, runs in sorted(found.items())]


def _case(source: str, target: str, runs: list[tuple[dict, dict]]) -> Case:
    for _, measures in runs:
        measures.pop("full_seconds", None)
    first = CaseMeasures(**runs[0][1])
    means = ("probe_accuracy", "half_accuracy", "random_accuracy", "seconds")
    averaged = {name: round(fmean(measures[name] for _, measures in runs), 4) for name in means}
    results = {name: [cell["results"][name] for cell, _ in runs] for name in runs[0][0]["results"]}
    family = next((family for start, family in _FAMILIES.items() if target.startswith(start)), target)
    return Case(
        source,
        target,
        family,
        replace(first, **averaged),
        accuracy={name: tuple(round(run["test"], 4) for run in found) for name, found in results.items()},
        validated={name: tuple(run["validation_correct"] for run in found) for name, found in results.items()},
        early={name: tuple(round(early(run["curve"]), 4) for run in found) for name, found in results.items()},
    )


def early(curve: dict[str, float]) -> float:
    """Accuracy at the look before the last, after two thirds of the steps."""
    return curve[sorted(curve, key=int)[-2]]


def markdown(cases: list[Case], evaluation: dict) -> str:
    """Each cell: test accuracies in %, what was advised from other families, and what that lost."""
    strategies = list(cases[0].accuracy)
    names = " | ".join(f"`{name}`" for name in strategies)
    lines = [f"| source | target | rows | {names} | advised | lost | with trials |"]
    lines.append("|---" * (len(strategies) + 6) + "|")
    advice = {(cell["source"], cell["target"], cell["rows"]): cell for cell in evaluation["cells"]}
    for case in cases:
        cell = advice[case.source, case.target, case.measures.rows]
        figures = [f"{100 * case.mean(name):.1f}" for name in strategies]
        figures = [f"**{text}**" if name == case.best else text for name, text in zip(strategies, figures, strict=True)]
        lines.append(
            f"| {case.source} | {case.target} | {case.measures.rows:,} | "
            + " | ".join(figures)
            + f" | `{cell['advised']}` | {100 * cell['regret']:.1f} | {100 * cell['trial_regret']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
