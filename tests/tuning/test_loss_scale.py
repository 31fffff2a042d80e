"""A batch in one piece, in accumulated pieces, or on several ranks: one loss, one gradient, one set of weights."""

import json

import pytest
import term_cases
from loss_cases import FAMILIES, case, trained

from hf_transfer_kit import L2SP, FairLossScale
from hf_transfer_kit.tuning.loss_scale import heeds_item_count

TWO_RANKS = """
import json, sys
from pathlib import Path

import torch.distributed as dist
from loss_cases import FAMILIES, trained
from hf_transfer_kit import FairLossScale

found = {}
for name in FAMILIES:
    model, logs = trained(name, sys.argv[1], size=3, pieces=1, callbacks=[FairLossScale()])
    found[name] = [[e["loss"] for e in logs], [e["grad_norm"] for e in logs], sum(p.double().sum().item() for p in model.parameters())]
if dist.get_rank() == 0:
    Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


@pytest.mark.parametrize("part", [FairLossScale, L2SP])
@pytest.mark.parametrize("name", FAMILIES)
def test_accumulated_pieces_are_one_batch(name, part, tmp_path):
    whole, logs = trained(name, tmp_path, size=6, pieces=1, callbacks=[part()])
    split, split_logs = trained(name, tmp_path, size=2, pieces=3, callbacks=[part()])
    for key in ("loss", "grad_norm"):
        assert [e[key] for e in split_logs] == pytest.approx([e[key] for e in logs], rel=1e-5)
    term_cases.assert_close_state(split.state_dict(), whole.state_dict(), 1e-8)


def test_who_heeds_the_count_and_who_does_not():
    heeding, ignoring = (case(name) for name in ("llama_lm", "bert"))
    assert heeds_item_count(heeding[0], term_cases.batch_of(heeding[1]))
    assert not heeds_item_count(ignoring[0], term_cases.batch_of(ignoring[1]))


def test_two_ranks_are_one_with_twice_the_rows(two_processes, tmp_path):
    two_processes(TWO_RANKS, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    for name in FAMILIES:
        model, logs = trained(name, tmp_path, size=6, pieces=1, callbacks=[FairLossScale()])
        total = sum(parameter.double().sum().item() for parameter in model.parameters())
        losses, norms, sums = found[name]
        assert losses == pytest.approx([entry["loss"] for entry in logs], rel=1e-5), name
        assert norms == pytest.approx([entry["grad_norm"] for entry in logs], rel=1e-5), name
        assert sums == pytest.approx(total, rel=1e-8), name
