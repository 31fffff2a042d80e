"""A depth search as a report and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from hf_transfer_kit.backbones import layer_groups
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.reports.described import described_data
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.selection import groups_frozen_at
from hf_transfer_kit.values import DepthSearch


def depth_report(
    search: DepthSearch,
    model: nn.Module,
    facts: RunFacts,
    *,
    data: LoadedData,
    prepared: PreparedData,
    seeds: Sequence[int],
) -> TransferReport:
    """Puts a search into a report: no model was kept, so there are no metrics, and ``plan`` holds what to run.

    Args:
        search: What was found.
        model: The network, for the table of its layer groups.
        facts: What is known of the run.
        data: The splits as loaded.
        prepared: The splits as trained on.
        seeds: Those of the last rung.

    Example:
        >>> facts = RunFacts("net", "python search_depth.py", budget=budget)
        >>> made = depth_report(search, model, facts, data=loaded, prepared=prepare_data(loaded, processor), seeds=[0])
        >>> made.plan["strategy"]
        'freeze_first:k=2'
    """
    rows = layer_groups(model).rows()
    body = sum(not row["head"] for row in rows)
    still = groups_frozen_at(body, search.chosen, search.direction)
    return facts.report(
        "search_depth",
        title=f"How many layers of {facts.model_name} to freeze on {data.name}",
        dataset_name=data.name,
        plan={"strategy": search.strategy, **facts.spent},
        layer_groups=[{**row, "trainable": 0.0 if row["depth"] in still else 1.0} for row in rows],
        data=described_data(data, prepared),
        seconds={name: value for name, value in search.seconds.items() if name != "total"}
        | {"search": search.seconds["total"]},
        seeds=seeds,
        depth_searches=(search,),
    )


def depth_table(search: DepthSearch) -> str:
    """The table of depths for the console, the chosen one marked.

    Example:
        >>> [line.split()[1] for line in depth_table(search).splitlines() if line.startswith("*")]
        ['2']
    """
    return replace(search.table(), after=()).text()
