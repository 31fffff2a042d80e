"""A comparison that is killed leaves card and report: which contenders are done, with which figures, and which one ran."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from huggingface_hub import ModelCard
from transformers import TrainerCallback

from hf_transfer_kit import push_transfer_model, replace_head
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.errors import HubError
from hf_transfer_kit.hub import KeepRaceReport, check_output_dir, save_results, started_race
from hf_transfer_kit.hub.unfinished import is_unfinished
from hf_transfer_kit.reports import read_report
from hf_transfer_kit.selection import Budget, compare_strategies

STRATEGIES = ("head_only", "full", "from_scratch")


class Killed(TrainerCallback):
    """Ends the process at a step, as a scheduler would."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise SystemExit(143)


class Rows(torch.utils.data.Dataset):
    """Images whose brightness tells the class, but on test rows the opposite: their accuracy would give itself away."""

    def __init__(self, rows: int, seed: int, *, turned: bool = False) -> None:
        self.labels = torch.arange(rows) % 2
        noise = torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        self.images = noise + 4.0 * self.labels.view(-1, 1, 1, 1)
        self.labels = 1 - self.labels if turned else self.labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def make_model(seed: int):
    return replace_head(tiny.TRANSFORMERS["resnet"]()[0], 2, seed=seed)


@pytest.fixture
def started():
    return started_race(
        "transfer", STRATEGIES, title="net on birds", model_name="net", dataset_name="birds",
        data={"modality": "image", "classes": ["dark", "bright"], "sizes": {"train": 16, "test": 13}, "skipped_rows": 0},
        budget={"steps": 4, "batch_size": 4}, seeds=[0], command="python scripts/transfer.py --dataset /home/alice/birds",
    )  # fmt: skip


@pytest.fixture
def killed(started, training_arguments, tmp_path):
    """The folder of a race that was killed in its second strategy, and the result of its first."""
    data = PreparedData(
        train=Rows(16, 0), validation=Rows(10, 1), test=Rows(13, 2, turned=True), collator=None, modality="image",
        label_names=("dark", "bright"),
    )  # fmt: skip
    kept = KeepRaceReport(started, tmp_path / "out", base_model="me/base")
    results = []

    def callbacks(text, seed):
        return [*kept.callbacks(text, seed), *([Killed()] if text == "full" else [])]

    def on_result(result):
        results.append(result)
        kept.done(result.strategy, result.validation)

    args = training_arguments(per_device_train_batch_size=4)
    with pytest.raises(SystemExit):
        compare_strategies(
            make_model, data, STRATEGIES, args, Budget(4, 4, evaluations=2), callbacks=callbacks, on_result=on_result
        )
    return tmp_path / "out", results[0]


def test_what_is_done_and_what_ran_is_in_all_three_files(killed):
    folder, first = killed
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "hf_transfer_kit.json", "report.html", "report.json",
    ]  # fmt: skip
    report = read_report(folder / "report.json")
    kept = report.data["unfinished"]
    assert kept["planned"] == list(STRATEGIES)
    assert kept["done"] == [{"name": "head_only", "figures": dict(first.validation)}]
    assert (kept["running"], kept["step"], kept["max_steps"]) == ("full, seed 0", 2, 4)
    assert [entry["step"] for entry in kept["evaluations"]] == [2]
    card, page = (folder / "README.md").read_text(), (folder / "report.html").read_text()
    reached = f"accuracy {first.validation['accuracy']:.4f}"
    assert any(line.startswith("| head_only |") and reached in line for line in card.splitlines())
    assert any(
        '<th scope="row" data-label="contender">head_only</th>' in line and reached in line
        for line in page.splitlines()
    )
    for text in (card, page):
        assert "1 of 3 contenders are done" in text
        assert "full, seed 0 is at step 2 of 4" in text
        assert f"{kept['evaluations'][0]['loss']:.4f}" in text
        assert "alice" not in text
    ModelCard(card, ignore_metadata_errors=False)


def test_figures_of_the_test_split_are_nowhere(killed):
    folder, first = killed
    told = {first.test[name] for name in first.test} - set(first.validation.values())
    assert told
    report = read_report(folder / "report.json")
    assert (report.metrics, report.baselines, report.results) == ({}, {}, ())
    for path in folder.iterdir():
        text = path.read_text()
        for value in told - {0.0, 1.0}:
            assert repr(value) not in text
            assert f"{value:.4f}" not in text
    assert ModelCard.load(folder / "README.md").data.eval_results is None


def test_such_a_folder_is_not_pushed_and_may_be_used_again(killed):
    folder, _ = killed
    assert is_unfinished(folder)
    with pytest.raises(HubError, match="is not over, or was interrupted, so nothing was pushed"):
        push_transfer_model(folder, "me/net")
    check_output_dir(folder)
    from hub.sharing_cases import bert

    case = bert()
    save_results(folder, case.report, case.model, case.processor, {})
    assert not is_unfinished(folder)
    assert "not over" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("recipe", ["adapt", "multitask", "zero_shot"])
def test_every_recipe_has_a_card_and_a_page(started, tmp_path, recipe):
    from dataclasses import replace

    kept = KeepRaceReport(replace(started, recipe=recipe, data={**started.data, "classes": []}), tmp_path)
    kept.done("dann", {"bnm": 0.25})
    kept.done("split 2", {})
    report = read_report(tmp_path / "report.json")
    assert [entry["figures"] for entry in report.data["unfinished"]["done"]] == [{"bnm": 0.25}, {}]
    data = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False).data
    assert data.pipeline_tag == ("image-classification" if recipe == "adapt" else None)
    assert data.tags == ["transfer-learning", "hf_transfer_kit"]
    assert "| split 2 | \N{EN DASH} |" in (tmp_path / "README.md").read_text()


def test_a_run_that_trainer_does_not_evaluate_is_told_of_when_it_logs(started, training_arguments, tmp_path):
    kept = KeepRaceReport(started, tmp_path / "out")
    (watch,) = kept.callbacks("dann")
    state = SimpleNamespace(global_step=2, max_steps=8, log_history=[{"loss": 1.0, "step": 2}])
    watch.on_log(training_arguments(eval_strategy="steps", eval_steps=4), state, None)
    assert not (tmp_path / "out").exists()
    watch.on_log(training_arguments(), state, None)
    report = read_report(tmp_path / "out" / "report.json")
    assert (report.data["unfinished"]["running"], report.data["unfinished"]["step"]) == ("dann", 2)
