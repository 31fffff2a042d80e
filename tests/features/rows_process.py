"""Run by test_cost_of_rows.py: the memory of every member of ``cost_of_rows.py``, as JSON; see there."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import cost_of_rows

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features import memory_limit, row_blocks


def above(make, rows: list[int], width: int, limit: int) -> dict[str, list[int] | int | str]:
    """Bytes above the inputs for each number of rows, then of the last within the limit, or why not."""
    make(cost_of_rows.WARM, width)()
    found = [cost_of_rows.peak_above(make(count, width))[1] for count in rows]
    try:
        with memory_limit(limit):
            return {"above": found, "within": cost_of_rows.peak_above(make(rows[-1], width))[1]}
    except SettingsError as error:
        return {"above": found, "within": str(error)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = json.loads(sys.argv[1])
    row_blocks.BLOCK = settings.pop("block")
    found = {
        f"{family}: {name}": cost_of_rows.in_own_process(above, make, *settings.values())
        for family, name, make in cost_of_rows.members(permutations=19)
    }
    print(json.dumps(found))
