"""What every report says of the run that made it, whatever the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_transfer_kit.reports.report import TransferReport, library_versions
from hf_transfer_kit.selection import Budget


def budget_facts(budget: Budget) -> dict[str, Any]:
    """What each run may spend, by name: steps, rows a step, and what may end it before where something may.

    Example:
        >>> from hf_transfer_kit.selection import Budget
        >>> budget_facts(Budget(900, 32, patience=3))
        {'steps': 900, 'batch_size': 32, 'patience': 3}
    """
    limits = {"patience": budget.patience, "max_minutes": budget.max_minutes}
    known = {name: value for name, value in limits.items() if value is not None}
    return {"steps": budget.max_steps, "batch_size": budget.batch_size, **known}


@dataclass(frozen=True)
class RunFacts:
    """What is the same in the reports of all recipes.

    Args:
        model_name: The pretrained network's name for people.
        command: The command that reproduces the run.
        seed: The first seed.
        budget: What each run may spend; None where nothing is trained under one.
        learning_rate: Of weights that did not begin fresh.
        seconds: Wall time by phase, ``total`` among them.
        notes: Warnings and limits for people.

    Example:
        >>> facts = RunFacts("net", "python transfer.py", budget=budget)
        >>> facts.spent
        {'learning_rate': None, 'max_steps': 2, 'batch_size': 8}
    """

    model_name: str
    command: str
    seed: int = 0
    budget: Budget | None = None
    learning_rate: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def spent(self) -> dict[str, Any]:
        """For a report's plan: rate, steps and rows a step."""
        if self.budget is None:
            return {}
        found = budget_facts(self.budget)
        return {"learning_rate": self.learning_rate, "max_steps": found.pop("steps"), **found}

    def report(
        self,
        recipe: str,
        *,
        title: str,
        dataset_name: str,
        plan: Mapping[str, Any],
        seeds: Sequence[int] = (),
        seconds: Mapping[str, float] | None = None,
        notes: Sequence[str] = (),
        **found: Any,
    ) -> TransferReport:
        """A report with these facts.

        Args:
            recipe: What was done, such as ``"transfer"``.
            title: For people.
            dataset_name: Of the target.
            plan: The chosen settings.
            seeds: Of the runs.
            seconds: Of each contender, beside the phases.
            notes: Of what was found, before the facts' own.
            **found: The other fields of ``TransferReport``.
        """
        spent = {} if self.budget is None else budget_facts(self.budget)
        return TransferReport(
            recipe=recipe,
            title=title,
            model_name=self.model_name,
            dataset_name=dataset_name,
            metrics=found.pop("metrics", {}),
            baselines=found.pop("baselines", {}),
            plan=dict(plan),
            layer_groups=found.pop("layer_groups", None),
            data=found.pop("data", {}),
            seconds={**self.seconds, **(seconds or {})},
            versions=library_versions(),
            seed=self.seed,
            command=self.command,
            budget=found.pop("budget", {**spent, "seeds": list(seeds)} if spent else {}),
            notes=(*notes, *self.notes),
            **found,
        )
