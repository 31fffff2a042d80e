"""Two processes ask what one asks: every comparison and every strategy, the same figures and the same choice."""

import json
import os
from dataclasses import replace

import pytest
import selection.test_going_on as going_on
import torch
from selection.generalising.source_data import NAMES, prepared
from selection.test_going_on import COMPARISONS, plain
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification

from hf_transfer_kit.selection import STRATEGIES, compare_strategies

OF_JOINT_TOWERS = {"text_head"}
SOURCE = [""]
"""Where the network lies, for strategies that look at it as it was."""
TWO_RANKS = """
import json, sys
from pathlib import Path

import torch.distributed as dist
from selection.test_two_ranks import outcomes

found = outcomes(Path(sys.argv[1]))
if dist.get_rank() == 0:
    Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


def network(seed, names=NAMES):
    """Without BatchNorm and dropout, which see each process's rows alone."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    model = ViTForImageClassification(ViTConfig(image_size=28, patch_size=7, **sizes, **labels))
    model.config._name_or_path = model.name_or_path = str(SOURCE[0])
    return model


def strategies(args, **settings):
    names = [name for name in STRATEGIES if name not in OF_JOINT_TOWERS]
    return compare_strategies(network, prepared("red"), names, args, going_on.BUDGET, seeds=(0,), **settings)


def outcomes(folder):
    """Comparison -> its outcome, after batches that neither two processes nor an epoch divide evenly."""
    torch.set_num_threads(1)  # as the ranks have
    going_on.BUDGET = replace(going_on.BUDGET, max_steps=6, batch_size=5, learning_rate=0.05)
    going_on.network = network
    going_on.fresh_network = lambda kind, names, seed: network(seed, names)
    SOURCE[0] = folder / f"source-{os.environ.get('RANK', 0)}"
    network(0).save_pretrained(SOURCE[0])
    found = {}
    for name, compared in {"strategies": strategies, **COMPARISONS}.items():
        args = TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True)
        args.optim = "sgd"  # Adam's first steps are as long whatever the gradient, rounding included
        args.per_device_train_batch_size = 5 // args.world_size + 5 % args.world_size
        found[name] = json.loads(json.dumps(plain(compared(args)), default=str))
    return found


def differences(one, two, place=""):
    """Where two outcomes differ by more than rounding, but for what makes much of it.

    That are t-SNE, a fit by iteration, correlations of predictions that hardly differ, and cosines of gradients of
    which one is zero (that of lwf in its first step).
    """
    if any(word in place for word in ("/points", "/labelled", "pearson", "/affinity")):
        return []
    if isinstance(one, dict):
        return [
            d for name in one.keys() | two.keys() for d in differences(one.get(name), two.get(name), f"{place}/{name}")
        ]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return [d for i, pair in enumerate(zip(one, two, strict=True)) for d in differences(*pair, f"{place}/{i}")]
    same = two == pytest.approx(one, rel=1e-4, abs=1e-4) if isinstance(one, float) else one == two
    return [] if same else [(place, one, two)]


def test_two_ranks_are_one(two_processes, tmp_path, monkeypatch):
    for name in ("BUDGET", "network", "fresh_network"):
        monkeypatch.setattr(going_on, name, getattr(going_on, name))  # taken back after the test
    two_processes(TWO_RANKS, tmp_path)
    two = json.loads((tmp_path / "found.json").read_text())
    threads = torch.get_num_threads()
    one = outcomes(tmp_path)
    torch.set_num_threads(threads)
    wrong = differences(one, two)
    where = {place.split("/")[1] for place, *_ in wrong}
    assert not wrong, (where, wrong[:20])
