"""The model of several sources: any classifier, saved, loaded, exported; resumed, and the same in two processes."""

from pathlib import Path

import generalisation_run
import pytest
import tiny
import torch
from transformers import AutoModel

from hf_transfer_kit import SeveralSourcesConfig, SeveralSourcesModel
from hf_transfer_kit.adaptation import SOURCES_OBJECTIVES
from hf_transfer_kit.errors import DataError, ModelError, SettingsError

FAMILIES = ("resnet", "wrapped/resnet18", "bert", "wav2vec2")


def model(family="resnet", **options):
    torch.manual_seed(0)
    network, inputs = tiny.classifiers()[family]()
    found = SeveralSourcesModel.from_classifier(network, sources=["one", "two"], **options)
    inputs = {name: torch.cat([value] * 3) for name, value in inputs.items()}
    rows = len(next(iter(inputs.values())))
    labels = torch.arange(rows) % network.config.num_labels
    return found, {**inputs, "labels": labels, "domains": torch.arange(rows) % 2}


@pytest.mark.parametrize("method", SOURCES_OBJECTIVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_images_texts_and_sounds_learn_and_are_loaded_and_exported(family, method, tmp_path):
    found, batch = model(family, method=method)
    out = found.train()(**batch)
    out.loss.backward()
    assert out.loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in found.parameters())
    found.eval()
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "domains")}
    with torch.no_grad():
        said = found(**inputs).logits
        found.save_pretrained(tmp_path)
        again = AutoModel.from_pretrained(tmp_path).eval()
        assert type(again) is SeveralSourcesModel
        assert again.config.sources == ["one", "two"]
        assert torch.equal(again(**inputs).logits, said)
        if method == "group_dro":
            assert torch.equal(again.objective.shares, found.objective.shares)
        torch.testing.assert_close(found.export_classifier()(**inputs).logits, said, rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_each_source():
    found, batch = model("bert")
    out = found.train()(**batch)
    found.eval()
    losses = torch.nn.functional.cross_entropy(out.logits, batch["labels"], reduction="none")
    wanted = (losses[batch["domains"] == 0].mean() + losses[batch["domains"] == 1].mean()) / 2
    torch.testing.assert_close(out.loss, wanted)


def test_what_is_missing_or_unknown_is_told():
    found, batch = model()
    batch.pop("domains")
    with pytest.raises(DataError, match="has no 'domains'"):
        found.train()(**batch)
    found.eval()(**batch)
    for options, words in (
        ({"method": "irm"}, "method='irm' is unknown"),
        ({"batch_norm": "both"}, "batch_norm='both' is unknown"),
        ({"sources": ["a", "a"]}, "none twice"),
        ({"sources": "photo"}, "must be a list of names"),
    ):
        with pytest.raises(SettingsError, match=words):
            SeveralSourcesConfig(**options)
    with pytest.raises(SettingsError, match="needs backbone_config"):
        SeveralSourcesModel(SeveralSourcesConfig())
    with pytest.raises(ModelError, match="is no model of transformers"):
        SeveralSourcesModel.from_classifier(torch.nn.Linear(2, 2), sources=["a"])


@pytest.mark.parametrize("method", SOURCES_OBJECTIVES)
@pytest.mark.parametrize("stop", [2, 3])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(method, stop, tmp_path):
    whole = generalisation_run.trainer(tmp_path / "whole", method=method)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 1}
    generalisation_run.trainer(tmp_path / "cut", generalisation_run.Stop(stop), method=method, **saving).train()
    resumed = generalisation_run.trainer(tmp_path / "cut", method=method, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in resumed.model.state_dict().items())
    logs = [entry for entry in whole.state.log_history if "loss" in entry]
    assert len(logs) == 6
    assert all(
        entry["class_loss"] + entry.get("coral_loss", 0) == pytest.approx(entry["loss"], abs=2e-4) for entry in logs
    )


def test_accumulated_batches_are_one(tmp_path):
    weights = []
    for size, times in ((8, 1), (4, 2)):
        run = generalisation_run.trainer(
            tmp_path, layers=False, per_device_train_batch_size=size, gradient_accumulation_steps=times, max_steps=3
        )
        run.train()
        weights.append(run.model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-6)


def test_two_processes_equal_one_with_every_method(tmp_path, two_processes):
    two_processes(Path(generalisation_run.__file__).read_text(), tmp_path)
    two = torch.load(tmp_path / "found.pt", weights_only=True)
    for method, (losses, weights) in generalisation_run.all_methods(tmp_path, 1).items():
        assert two[method][0] == pytest.approx(losses, rel=1e-4), method
        for name, value in weights.items():
            torch.testing.assert_close(value, two[method][1][name], rtol=1e-4, atol=1e-6)
