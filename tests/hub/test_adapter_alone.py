"""An adapter that is pushed without the network it changes says so; beside merged weights it is a fine-tuned network."""

import json
import shutil

import pytest
import tiny
import torch
from hub.sharing_cases import BASE, lora, recording_hub
from huggingface_hub import ModelCard

from hf_transfer_kit import push_transfer_model
from hf_transfer_kit.errors import HubError
from hf_transfer_kit.hub import save_results
from hf_transfer_kit.hub.adapter_alone import is_adapter_alone, stage_adapter


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A LoRA run's folder and its model; the base lies in a folder, the card names it as one of the Hub."""
    folder = tmp_path_factory.mktemp("lora")
    network, _ = tiny.TRANSFORMERS["bert"]()
    network.save_pretrained(folder / "base")
    case = lora(str(folder / "base"))
    save_results(
        folder / "run", case.report, case.model, case.processor, {"strategy": "lora:r=2"}, base_model=BASE,
        license="mit", language="en", datasets=["me/birds"],
    )  # fmt: skip
    return folder, case


def test_merged_weights_with_their_adapter_are_a_fine_tuned_network(run):
    folder, _ = run
    data = ModelCard.load(folder / "run" / "README.md", ignore_metadata_errors=False).data
    assert (data.base_model, data.base_model_relation, data.library_name) == (BASE, "finetune", "transformers")
    assert not is_adapter_alone(folder / "run")
    assert is_adapter_alone(folder / "run" / "adapter")
    assert sorted(path.name for path in (folder / "run" / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip


def test_the_adapter_alone_is_an_adapter_with_the_runs_figures(run, tmp_path):
    folder, case = run
    stage_adapter(folder / "run" / "adapter", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "report.json", "tokenizer.json"} <= names
    assert not {"model.safetensors", "config.json", "adapter"} & names
    card = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False)
    assert (card.data.base_model, card.data.base_model_relation, card.data.library_name) == (BASE, "adapter", "peft")
    assert (card.data.license, card.data.language, card.data.datasets) == ("mit", ["en"], ["me/birds"])
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "accuracy": 0.75, "macro_f1": 0.7,
    }  # fmt: skip
    assert "pipeline(" not in card.text
    assert "This is an adapter, a low-rank change to its base:" in card.text
    snippet = card.text.partition("```python\n")[2].partition("```")[0]
    here = snippet.replace(BASE, str(folder / "base")).replace('name = "."', f"name = {str(tmp_path)!r}")
    scope = {}
    exec(here, scope)
    with torch.no_grad():
        assert torch.allclose(scope["model"](**case.inputs).logits, case.logits(), atol=1e-6)


def test_it_is_pushed_whole_and_the_folder_stays_as_it_is(run, monkeypatch):
    folder, _ = run
    sent = {}
    monkeypatch.setattr("hf_transfer_kit.hub.pushing.HfApi", recording_hub(sent))
    before = sorted(path.name for path in (folder / "run" / "adapter").iterdir())
    assert push_transfer_model(folder / "run" / "adapter", "me/small").commit_message == "transfer: base on birds"
    assert before == sorted(path.name for path in (folder / "run" / "adapter").iterdir())
    assert b"base_model_relation: adapter" in sent["README.md"]
    assert b'name = "me/small"' in sent["README.md"]
    assert [name for name in sent if name.endswith(".safetensors")] == ["adapter_model.safetensors"]
    assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "base"
    push_transfer_model(folder / "run", "me/whole")
    assert b"base_model_relation: finetune" in sent["README.md"]
    assert "adapter/adapter_model.safetensors" in sent


def test_without_a_base_on_the_hub_no_relation_is_claimed(run, tmp_path):
    folder, _ = run
    case = lora(str(folder / "base"))
    save_results(tmp_path / "run", case.report, case.model, None, {}, base_model=str(folder / "base"))
    (tmp_path / "staged").mkdir()
    stage_adapter(tmp_path / "run" / "adapter", tmp_path / "staged")
    text = (tmp_path / "staged" / "README.md").read_text()
    assert "base_model_relation" not in text
    assert 'load_model("base", num_labels=2, pooling="classifier")' in text
    assert str(folder) not in text


def test_what_cannot_be_pushed_says_why(run, tmp_path):
    folder, _ = run
    shutil.copytree(folder / "run" / "adapter", tmp_path / "lost" / "adapter")
    with pytest.raises(HubError, match="holds an adapter alone, and neither there nor in the folder around it"):
        push_transfer_model(tmp_path / "lost" / "adapter", "me/net")
    shutil.copytree(folder / "run", tmp_path / "stripped")
    (tmp_path / "stripped" / "model.safetensors").unlink()
    with pytest.raises(HubError, match=r"no model to push.*Its adapter alone can be: push .*stripped/adapter\.$"):
        push_transfer_model(tmp_path / "stripped", "me/net")
