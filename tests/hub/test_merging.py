"""A merged network in its folder: loaded again, asked again, and a card that says of what it was made."""

import copy

import pytest
import tiny
import torch
from hub import sharing_cases
from huggingface_hub import ModelCard

from hf_transfer_kit import load_inputs, load_model, load_transferred, merge_models, push_transfer_model, replace_head
from hf_transfer_kit.commands.merge import main
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import HubError, ModelError, SettingsError
from hf_transfer_kit.hub import merge_card, save_inputs, save_merged
from hf_transfer_kit.tuning.averaging.merging import METHODS

CLASSES = {0: "cat", 1: "dog"}


def networks(kind="bert"):
    torch.manual_seed(0)
    base = replace_head(tiny.TRANSFORMERS[kind]()[0], id2label=CLASSES, seed=0)
    found = [copy.deepcopy(base), copy.deepcopy(base)]
    with torch.no_grad():
        for number, network in enumerate(found):
            for parameter in network.parameters():
                parameter.add_(0.1 * (number + 1))
    return base, found


@pytest.mark.parametrize("method", METHODS)
def test_the_card_says_what_was_merged_how_and_that_nothing_was_measured(method):
    base, found = networks()
    for name, network in zip(("me/one", "me/two", "you/base"), (*found, base), strict=True):
        network.name_or_path = name
    given = {} if method == "soup" else {"base": base}
    merged = merge_models(found, method=method, weights={"all": [0.25, 0.75], "head": [1, 0]}, **given)
    card = merge_card(merged, license="mit", language="en")
    data = card.data.to_dict()
    assert data["base_model"] == ["me/one", "me/two", *(["you/base"] if given else [])]
    assert data["base_model_relation"] == "merge"
    assert {"merge", method} <= set(data["tags"])
    assert (data["license"], data["language"], data["pipeline_tag"]) == ("mit", ["en"], "text-classification")
    for part in (
        "| all | 0.25 | 0.75 |",
        "| head | 1 | 0 |",
        "nothing was measured",
        "[me/two](https://huggingface.co/me/two)",
    ):
        assert part in card.content
    assert (f"{merged.density:.0%} of the entries" in card.content) if merged.density else True


def test_paths_of_a_machine_are_in_no_card_and_metadata_name_the_hub_alone(tmp_path):
    _, found = networks()
    for number, network in enumerate(found):
        network.save_pretrained(tmp_path / f"run{number}")
    card = merge_card(merge_models([tmp_path / "run0", tmp_path / "run1"]))
    assert str(tmp_path) not in str(card)
    assert "`run0`" in card.content
    assert "base_model" not in card.data.to_dict()


def test_a_folder_is_whole_or_not_there_and_is_loaded_again(tmp_path):
    _, found = networks("resnet")
    merged = merge_models(found)
    save_merged(tmp_path / "merged", merged)
    again = load_model(tmp_path / "merged", trained_head=True)
    for name, value in merged.model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert again.config.id2label == CLASSES
    assert ModelCard.load(tmp_path / "merged" / "README.md").data.tags[0] == "merge"
    with pytest.raises(SettingsError, match=r"licen[cs]e"):
        save_merged(tmp_path / "other", merged, license="no licence of anybody")
    assert not (tmp_path / "other" / "config.json").exists()


def saved_runs(folder, kind="resnet"):
    from transformers import ViTImageProcessor

    base, found = networks(kind)
    inputs = RawInputs("image", ViTImageProcessor(size={"height": 32, "width": 32}), InputSizes(image_size=32))
    for name, network in zip(("one", "two", "base"), (*found, base), strict=True):
        network.save_pretrained(folder / name)
        save_inputs(folder / name, inputs)
    return base, found


def test_the_command_merges_folders_of_runs_which_are_asked_as_any(tmp_path, monkeypatch, capsys):
    base, found = saved_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    main(
        [
            "one",
            "two",
            "--base",
            "base",
            "--method",
            "task_arithmetic",
            "--weights",
            "1",
            "-1",
            "--output_dir",
            "merged",
        ]
    )
    told = capsys.readouterr().out
    assert "The merged model of 2 is in merged." in told
    assert "BatchNorm's statistics are the mean" not in told  # all three have the same
    model = load_model("merged", trained_head=True)
    for name, parameter in model.named_parameters():
        wanted = base.get_parameter(name) + found[0].get_parameter(name) - found[1].get_parameter(name)
        torch.testing.assert_close(parameter.data, wanted.data)
    assert load_inputs("merged").modality == "image"
    assert load_transferred("merged")


def test_the_command_refuses_with_a_sentence(tmp_path, monkeypatch):
    saved_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="give it as base"):
        main(["one", "two", "--method", "ties", "--output_dir", "merged"])
    replace_head(networks("resnet")[0], 5, seed=0).save_pretrained("five")
    with pytest.raises(ModelError, match="one and five cannot be merged"):
        main(["one", "five", "--output_dir", "merged"])
    with pytest.raises(ModelError, match=r"has no inputs\.json"):
        main(["five", "five", "--dataset", "digits", "--output_dir", "merged"])


def test_a_merged_folder_is_pushed_as_what_it_is(tmp_path, monkeypatch):
    sent = {}
    monkeypatch.setattr("hf_transfer_kit.hub.pushing.HfApi", sharing_cases.recording_hub(sent))
    save_merged(tmp_path, merge_models(networks()[1]), title="Two birds")
    assert push_transfer_model(tmp_path, "me/both").commit_message == "merge: Two birds"
    assert {"README.md", "config.json", "model.safetensors"} <= sent.keys()
    (tmp_path / "README.md").write_text("---\ntags: [merge]\n---\nby somebody\n")
    with pytest.raises(HubError, match=r"holds no report\.json"):
        push_transfer_model(tmp_path, "me/both")


def test_results_of_a_run_are_not_merged_over(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SettingsError, match="holds the results of a run"):
        save_merged(tmp_path, merge_models(networks()[1]), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_merging_again_leaves_nothing_of_before(tmp_path):
    inputs = RawInputs("image", sharing_cases.image_processor(), InputSizes(image_size=32))
    save_merged(tmp_path, merge_models(networks("vit")[1]), inputs)
    assert (tmp_path / "inputs.json").is_file()
    save_merged(tmp_path, merge_models(networks()[1]))
    assert not (tmp_path / "inputs.json").exists()
