"""The soup of a race: greedy on validation, honest, kept with the runs, and refused where networks differ."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from bright_rows import Rows, race_arguments
from transformers import TrainerCallback

from hf_transfer_kit import replace_head
from hf_transfer_kit.backbones import is_adapted, merged
from hf_transfer_kit.backbones.batch_norms import batch_norms
from hf_transfer_kit.selection import STRATEGIES, Budget, compare_strategies, make_strategy, run_strategy
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.tuning.averaging.statistics import batches_of, gather_statistics

BUDGET = Budget(16, 4, evaluations=1, learning_rate=3e-3)
TEXTS = ["full", "lora:r=2", "from_scratch"]
SEEDS = (0, 1, 2)


def network(seed):
    """One pretrained network, and a head of the seed."""
    torch.manual_seed(0)
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 2, seed=seed)


@pytest.fixture
def hard(data):
    """Rows of which a short run says some wrongly."""
    train, validation, test = Rows(24, 0), Rows(40, 1), Rows(31, 2)
    for rows in (train, validation, test):
        rows.images -= 1.85 * rows.labels.view(-1, 1, 1, 1)
    return replace(data, train=train, validation=validation, test=test)


def raced(folder, data, **settings):
    settings = {"seeds": SEEDS, "soup": True, **settings}
    return compare_strategies(network, data, settings.pop("texts", TEXTS), race_arguments(folder), BUDGET, **settings)


def measured(model, rows):
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(pixel_values=rows.images).logits
    loss = torch.nn.functional.cross_entropy(logits, rows.labels)
    return float((logits.argmax(-1) == rows.labels).float().mean()), -float(loss)


def mean_of(models, data):
    """Slowly: every float the mean, statistics gathered on the training rows where they differ."""
    result = copy.deepcopy(models[0])
    states = [model.state_dict() for model in models]
    values = {n: torch.stack([s[n] for s in states]).mean(0) for n, v in states[0].items() if v.is_floating_point()}
    result.load_state_dict({**states[0], **values})
    norms = [
        norm
        for norm, *others in zip(*(batch_norms(model) for model in [result, *models]), strict=True)
        if any(not torch.equal(other.running_mean, others[0].running_mean) for other in others)
    ]
    if norms:
        batches = batches_of(data.train, data.collator, batch_size=256, max_rows=1024)
        gather_statistics(result, norms, batches)
    return result


def greedy(data, folder, texts, seeds):
    """The recipe of the paper: names in the soup, and its network."""
    found = {}
    for text in texts:
        for seed in seeds:
            run = run_strategy(make_strategy(text), network, data, race_arguments(folder), BUDGET, seed=seed)
            model = merged(run.model) if is_adapted(run.model) else run.model
            found[f"{text} (seed {seed})"] = (run.validation["accuracy"], -run.validation["loss"]), model
    order = sorted(found, key=lambda name: found[name][0], reverse=True)
    names, score = order[:1], found[order[0]][0]
    for name in order[1:]:
        reached = measured(mean_of([found[n][1] for n in [*names, name]], data), data.validation)
        if reached >= score:
            names, score = [*names, name], reached
    return names, mean_of([found[n][1] for n in names], data), found[order[0]][0]


def test_the_soup_is_the_papers_recipe_over_strategies_and_seeds(hard, tmp_path):
    found = raced(tmp_path, hard, texts=TEXTS[:2])
    names, model, best = greedy(hard, tmp_path, TEXTS[:2], SEEDS)
    assert len(names) > 1, "nothing was mixed: this test shows nothing"
    soup = found.result("soup")
    assert f"the mean of {len(names)} of 6 runs: {', '.join(names)}." in found.soup
    assert soup.validation["accuracy"] == pytest.approx(measured(model, hard.validation)[0])
    assert soup.test["accuracy"] == pytest.approx(measured(model, hard.test)[0])
    assert (soup.validation["accuracy"], -soup.validation["loss"]) >= best
    assert found.winner == "soup"
    for name, value in found.model.state_dict().items():
        torch.testing.assert_close(value.float(), model.state_dict()[name].float(), rtol=1e-4, atol=1e-5)
    assert np.mean(found.predicted == found.true) == pytest.approx(soup.test["accuracy"])


def test_of_one_kind_of_run_only_strategies_that_transfer_go_in(hard, tmp_path):
    found = raced(tmp_path, hard, texts=["head_only", "from_scratch"], seeds=[0])
    assert found.soup == "No soup: on validation rows no other run added anything to head_only (seed 0)."
    assert [result.strategy for result in found.results] == ["head_only", "from_scratch"]
    assert raced(tmp_path, hard, texts=["from_scratch"], seeds=[0]).soup == ""
    assert raced(tmp_path, hard, soup=False).soup == ""


def test_a_race_with_a_soup_is_the_race_without_one(hard, tmp_path):
    with_one, without = raced(tmp_path, hard), raced(tmp_path, hard, soup=False)
    for one, other in zip(without.results, with_one.results, strict=False):
        assert replace(one, seconds=0) == replace(other, seconds=0)


def test_the_soup_is_kept_with_the_runs(hard, tmp_path):
    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            seen.append(state.max_steps)

    seen = []
    settings = {"callbacks": lambda text, seed: [Watch()], "store": RunStore(tmp_path / "runs")}
    first = raced(tmp_path, hard, **settings)
    trained = len(seen)
    assert trained == len(TEXTS) * len(SEEDS)
    hard.orders.clear()  # what the collator noted is no other data
    again = raced(tmp_path, hard, **settings)
    assert again.soup == first.soup
    assert again.result("soup").validation == first.result("soup").validation
    assert all(torch.equal(value, first.model.state_dict()[name]) for name, value in again.model.state_dict().items())
    assert len(seen) == trained


def test_another_network_is_left_out_and_told(hard, tmp_path, monkeypatch):
    """As ``text_head`` makes one: it learns in the race, and cannot go into the soup."""

    def prepared(self, model, *, seed):
        torch.manual_seed(0)
        return replace_head(tiny.timm_wrapped("resnet18")[0], 2, seed=seed)

    monkeypatch.setattr(STRATEGIES["lp_ft"], "prepare_model", prepared)
    found = raced(tmp_path, hard, texts=["full", "head_only", "lp_ft"], seeds=[0])
    assert (
        "lp_ft (seed 0) could not go in: only one of them has " in found.soup or "full (seed 0) could not" in found.soup
    )
