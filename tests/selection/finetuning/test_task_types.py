"""Every type of task through the race: its own metric, in its direction, a report that renders, a model that loads."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import transformers
from bright_rows import race_arguments

from hf_transfer_kit import replace_head
from hf_transfer_kit.data import ClassBalance, PreparedData
from hf_transfer_kit.data.collating import labels_of
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.metrics import larger_is_better, task_metrics
from hf_transfer_kit.reports import RunFacts, comparison_report, strategy_table, verdict_lines
from hf_transfer_kit.selection import Budget, compare_strategies
from hf_transfer_kit.selection.contest.store import RunStore
from hf_transfer_kit.selection.contest.verdict import judge_source
from hf_transfer_kit.selection.finetuning.task_losses import TaskLoss, task_loss

SIZES = {"train": 24, "validation": 16, "test": 20}
TAGS = ("O", "B-x", "I-x")
NAMES = {"regression": (), "multi_label": ("bright", "large", "never"), "token_classification": TAGS}
MAIN = {"regression": "spearman", "multi_label": "f1", "token_classification": "f1"}
STILL = "small_lr:factor=0.0001"
"""A strategy that learns as good as nothing."""


def pictures(task_type: str) -> dict[str, Rows]:
    found = {}
    for seed, (split, count) in enumerate(SIZES.items()):
        generator = torch.Generator().manual_seed(seed)
        level = torch.rand(count, generator=generator) * 2 - 1
        images = level.view(-1, 1, 1, 1) * 2 + 0.2 * torch.randn(count, 3, 32, 32, generator=generator)
        labels = 3.0 + level.double().numpy()
        if task_type == "multi_label":
            labels = [[float(x > 0), float(abs(x) > 0.5), 0.0] for x in level.tolist()]
        found[split] = Rows(images, labels, "pixel_values")
    return found


def sentences() -> dict[str, Rows]:
    found = {}
    for seed, (split, count) in enumerate(SIZES.items()):
        ids = np.random.default_rng(seed).integers(3, 9, size=(count, 6))
        labels = np.where(ids == 3, 1, np.where(ids == 4, 2, 0))
        labels[:, 0] = -100
        rows = [{"input_ids": torch.tensor(row), "attention_mask": torch.ones(6, dtype=torch.long)} for row in ids]
        found[split] = Rows(rows, labels.tolist(), None)
    return found


def collate(rows):
    names = [name for name in rows[0] if name != "labels"]
    return {name: torch.stack([row[name] for row in rows]) for name in names} | labels_of(rows)


def data(task_type: str, **changes) -> PreparedData:
    words = task_type == "token_classification"
    return PreparedData(
        **(sentences() if words else pictures(task_type)),
        collator=collate,
        modality="text" if words else "image",
        label_names=NAMES[task_type],
        task_type=task_type,
        **changes,
    )


def network(task_type: str):
    def make(seed: int):
        torch.manual_seed(seed)
        model = tiny.TRANSFORMERS["bert_tokens" if task_type == "token_classification" else "resnet"]()[0]
        names = NAMES[task_type] or ("LABEL_0",)
        return replace_head(model, id2label=dict(enumerate(names)), seed=seed)

    return make


def raced(task_type: str, args, *, strategies=("full", STILL, "from_scratch"), prepared=None, **settings):
    budget = Budget(12, 8, evaluations=2, learning_rate=0.02)
    return compare_strategies(
        network(task_type), prepared or data(task_type), strategies, args, budget, **{"seeds": (0, 1), **settings}
    )


@pytest.mark.parametrize("task_type", NAMES)
def test_a_race_of_every_type_of_task(task_type, tmp_path):
    """By the task's own metric; the saved network gives the numbers that were measured."""
    args, prepared = race_arguments(tmp_path / "trainer"), data(task_type)
    store = RunStore(tmp_path / "runs")
    found = raced(task_type, args, store=store)
    metric = MAIN[task_type]
    sign = 1 if larger_is_better(metric) else -1
    assert {result.metric for result in found.results} == {metric}
    best = max(found.results, key=lambda result: (sign * result.validation[metric], -result.validation["loss"]))
    assert (found.winner, found.verdict.metric) == (best.strategy, metric)
    assert found.result("full").validation["loss"] < found.result(STILL).validation["loss"]
    for result in found.results:
        values = [run.observed for run in found.tested[result.strategy]]
        assert values == pytest.approx(list(result.test_by_seed))
        assert result.test[metric] == pytest.approx(np.mean(values))
        assert result.curve[-1].accuracy is not None
        assert result.test_interval is not None
    again = raced(task_type, args, store=store)
    assert [run.figures for run in again.runs] == [run.figures for run in found.runs]
    assert again.verdict == found.verdict

    loaded = SimpleNamespace(
        name="rows", modality=prepared.modality, label_names=prepared.label_names, skipped_rows=0,
        sizes=lambda: SIZES, fingerprints=lambda: dict.fromkeys(SIZES, "f"),
    )  # fmt: skip
    facts = RunFacts("tiny", "python x.py", budget=Budget(12, 8), seconds={"total": 1.0})
    report = comparison_report(found, facts, data=loaded, prepared=prepared)
    assert verdict_lines(report) == [found.verdict.sentence]
    assert found.winner in strategy_table(report)
    save_results(tmp_path / "out", report, found.model, None, {})
    page, card = ((tmp_path / "out" / name).read_text() for name in ("report.html", "README.md"))
    assert found.verdict.sentence in page
    assert found.verdict.sentence in card
    assert json.loads((tmp_path / "out" / "report.json").read_text())["results"][0]["metric"] == metric

    auto = "TokenClassification" if task_type == "token_classification" else "ImageClassification"
    saved = getattr(transformers, f"AutoModelFor{auto}").from_pretrained(tmp_path / "out").eval()
    assert saved.config.problem_type == {"regression": "regression", "multi_label": "multi_label_classification"}.get(
        task_type
    )
    batch = collate([prepared.test[row] for row in range(SIZES["test"])])
    with torch.no_grad():
        logits = saved(**{name: value for name, value in batch.items() if name != "labels"}).logits
    prediction = transformers.EvalPrediction(predictions=logits.numpy(), label_ids=batch["labels"].numpy())
    measured = task_metrics(task_type, prepared.label_names).compute(prediction)
    assert measured[metric] == pytest.approx(found.model_metrics[metric], abs=1e-4)


def test_the_run_with_the_larger_error_loses(tmp_path):
    """mse is an error: what learns has the smaller one and wins, what stands still is judged worse."""
    found = raced("regression", race_arguments(tmp_path), prepared=data("regression", metric="mse"))
    learned, still = found.result("full"), found.result(STILL)
    assert learned.validation["mse"] < 0.5 * still.validation["mse"]
    best = min(found.results, key=lambda result: result.validation["mse"])
    assert found.winner == best.strategy != STILL
    runs = list(zip(found.tested["full"], found.tested[STILL], strict=True))
    well, badly = min(runs, key=lambda pair: pair[0].observed)  # one seed: two of so few steps are far apart
    sides = (STILL, [badly]), ("full", [well])
    lost, won = (judge_source("a", *mine, "b", *other, metric="mse") for mine, other in (sides, sides[::-1]))
    assert (lost.outcome, won.outcome) in (("hurt", "helped"), ("undecided", "undecided"))
    assert lost.difference == pytest.approx(badly.observed - well.observed)
    assert lost.difference > 0
    assert won.difference == pytest.approx(-lost.difference)
    assert "less is better" in lost.sentence


def test_halving_gives_up_the_larger_error(tmp_path):
    found = compare_strategies(
        network("regression"), data("regression", metric="mse"), ["full", STILL, "layerwise"],
        race_arguments(tmp_path), Budget(30, 8, evaluations=1, learning_rate=0.02), reduction_factor=2,
    )  # fmt: skip
    (gone,) = found.eliminated
    assert (gone.strategy, gone.metric) == (STILL, "mse")
    assert gone.accuracy > max(result.validation["mse"] for result in found.results)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("co_tuning", "co_tuning is for classification, because it relates the classes"),
        ("wise_ft", "wise_ft is for classification"),
        ("l2sp_fisher", "l2sp_fisher is for classification"),
        ("delta:attention=loss", "attention=loss weighs channels by a classifier's loss"),
        ("freeze_first:auto", "a depth is searched for by shares of rows that are right"),
    ],
)
def test_what_needs_classes_is_refused_by_name_before_training(strategy, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        raced("regression", race_arguments(tmp_path), strategies=("full", strategy))


def test_what_does_not_fit_the_task_is_refused_before_training(tmp_path):
    args = race_arguments(tmp_path)
    with pytest.raises(SettingsError, match=r"multi_label needs logits of shape \(rows, 3\), but ResNet\w+ gives"):
        compare_strategies(network("regression"), data("multi_label"), ["full"], args, Budget(2, 4))
    with pytest.raises(SettingsError, match="metric='f1' does not judge regression; choose spearman, pearson, mse"):
        raced("regression", args, prepared=data("regression", metric="f1"))
    with pytest.raises(SettingsError, match=r"this is a task of regression\. Leave them out"):
        raced("regression", args, prepared=data("regression", balance=ClassBalance(metric="macro_f1")))
    with pytest.raises(SettingsError, match=r"ctc needs logits of shape \(rows, positions, 2\), but ResNet\w+ gives"):
        raced("regression", args, prepared=replace(data("regression"), task_type="ctc", label_names=("<blank>", "a")))


@pytest.mark.parametrize("task_type", NAMES)
def test_the_loss_is_the_same_in_pieces(task_type):
    """Trainer's count of label entries for the whole batch: the pieces of it add up to the batch."""
    prepared = data(task_type)
    loss, batch = task_loss(prepared), collate([prepared.train[row] for row in range(8)])
    shape = (8, 6, 3) if task_type == "token_classification" else (8, max(1, len(prepared.label_names)))
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = loss({"logits": logits}, batch["labels"])
    items = batch["labels"].ne(-100).sum()
    parts = [loss({"logits": logits[part]}, batch["labels"][part], items) for part in (slice(0, 3), slice(3, 8))]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-5)
    assert isinstance(loss, TaskLoss)
