"""A run that is interrupted has a card and a report."""

import json

import pytest
import tiny
from hub.sharing_cases import classified
from huggingface_hub import ModelCard
from transformers import Trainer, TrainerCallback

from hf_transfer_kit import KeepReport, push_transfer_model
from hf_transfer_kit.errors import HubError, SettingsError
from hf_transfer_kit.hub import check_output_dir
from hf_transfer_kit.hub.live_report import evaluations_of
from hf_transfer_kit.reports import read_report, write_report


class PowerCut(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_each_evaluation_is_in_card_and_report(training_arguments, tmp_path):
    network, inputs = tiny.classifiers()["bert"]()
    rows = [{"input_ids": inputs["input_ids"][0], "labels": index % 3} for index in range(8)]
    args = training_arguments(
        max_steps=8, eval_strategy="steps", eval_steps=2, logging_steps=2, per_device_train_batch_size=2
    )
    started = classified(
        "text", 3, metrics={}, results=(), verdict=None, command="python x.py --dataset /home/alice/birds"
    )
    trainer = Trainer(
        network, args, train_dataset=rows, eval_dataset=rows,
        compute_metrics=lambda prediction: {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())},
        callbacks=[KeepReport(started, base_model="me/base"), PowerCut()],
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    folder = tmp_path / "run"
    report = read_report(folder / "report.json")
    kept = report.data["unfinished"]
    assert (kept["step"], kept["max_steps"]) == (4, 8)
    assert [sorted(entry) for entry in kept["evaluations"]] == [["accuracy", "loss", "step"]] * 2
    logged = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [entry["loss"] for entry in kept["evaluations"]] == [entry["eval_loss"] for entry in logged]
    assert report.metrics == {}
    text = (folder / "README.md").read_text()
    assert "**This run is not over, or was interrupted, at step 4 of 8.**" in text
    assert f"| 4 | {logged[1]['eval_loss']:.4f} | {logged[1]['eval_accuracy']:.4f} |" in text
    assert ModelCard(text, ignore_metadata_errors=False).data.eval_results is None
    assert "alice" not in text + (folder / "report.json").read_text() + (folder / "report.html").read_text()
    assert "it is at step 4 of 8" in (folder / "report.html").read_text()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    check_output_dir(folder)  # a run may begin again there
    with pytest.raises(HubError, match="is not over, or was interrupted, so nothing was pushed"):
        push_transfer_model(folder, "me/net")
    write_report(folder, classified("text", 3))
    with pytest.raises(SettingsError, match="holds a report already"):
        check_output_dir(folder)


def test_timings_and_training_losses_are_no_evaluations():
    history = [
        {"loss": 1.0, "step": 2},
        {
            "eval_loss": 0.5,
            "eval_accuracy": 0.25,
            "eval_runtime": 1.0,
            "eval_steps_per_second": 3.0,
            "epoch": 1.0,
            "step": 2,
        },
    ]
    assert evaluations_of(history) == [{"step": 2, "loss": 0.5, "accuracy": 0.25}]
    assert json.dumps(evaluations_of(history))
