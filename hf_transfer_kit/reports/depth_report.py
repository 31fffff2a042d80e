"""A depth search as a report and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.reports.comparison import described_data
from hf_transfer_kit.reports.report import TransferReport, library_versions
from hf_transfer_kit.selection import Budget, groups_frozen_at
from hf_transfer_kit.values import DepthSearch


def depth_report(
    search: DepthSearch,
    model: nn.Module,
    *,
    model_name: str,
    data: LoadedData,
    prepared: PreparedData,
    budget: Budget,
    seeds: Sequence[int],
    command: str,
    seconds: float,
) -> TransferReport:
    """Puts a search into a report: no model was kept, so there are no metrics, and ``plan`` holds what to run.

    Args:
        search: What was found.
        model: The network, for the table of its layer groups.
        model_name: Its name for people.
        data: The splits as loaded.
        prepared: The splits as trained on.
        budget: What a full run may spend.
        seeds: Those of the last rung.
        command: The command that reproduces the search.
        seconds: Wall time of everything.

    Example:
        >>> made = depth_report(
        ...     search, model, model_name="net", data=loaded, prepared=prepare_data(loaded, processor), budget=budget,
        ...     seeds=[0], command="python search_depth.py", seconds=1.0,
        ... )
        >>> made.plan["strategy"]
        'freeze_first:k=2'
    """
    rows = layer_groups(model).rows()
    body = sum(not row["head"] for row in rows)
    still = groups_frozen_at(body, search.chosen, search.direction)
    return TransferReport(
        recipe="search_depth",
        title=f"How many layers of {model_name} to freeze on {data.name}",
        model_name=model_name,
        dataset_name=data.name,
        metrics={},
        baselines={},
        plan={"strategy": search.strategy, "max_steps": budget.max_steps, "batch_size": budget.batch_size},
        layer_groups=[{**row, "trainable": 0.0 if row["depth"] in still else 1.0} for row in rows],
        data=described_data(data, prepared),
        seconds={**search.seconds, "search": search.seconds["total"], "total": seconds},
        versions=library_versions(),
        seed=seeds[0],
        command=command,
        budget={"steps": budget.max_steps, "batch_size": budget.batch_size, "seeds": list(seeds)},
        depth_searches=(search,),
    )


def depth_table(search: DepthSearch) -> str:
    """The table of depths for the console, the chosen one marked.

    Example:
        >>> [line.split()[1] for line in depth_table(search).splitlines() if line.startswith("*")]
        ['2']
    """
    lines = [
        f"{'frozen':>8} {'last of them':<28} {'validation':>16} {'steps':>6} {'seeds':>5} {'seconds':>8} {'cost':>6}"
    ]
    for result in search.results:
        mark = "*" if result.depth == search.chosen else " "
        accuracy = f"{result.accuracy:.3f} ± {result.error:.3f}"
        lines.append(
            f"{mark} {result.depth:>6} {result.group[:28]:<28} {accuracy:>16} {result.steps:>6} {len(result.seeds):>5} "
            f"{result.seconds:>8.1f} {result.cost:>6.2f}"
        )
    return "\n".join(lines)
