"""ONNX files say what the network says, tell what is done before, and what cannot be one is refused by name."""

import json

import numpy as np
import pytest
import tiny
import torch
import transformers as tf
from hub.sharing_cases import image_processor, zero_shot
from hub.test_raw_inputs import timm_case
from predicting import saved_cases

from hf_transfer_kit import load_transferred
from hf_transfer_kit.adaptation import Rejection
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.hub import save_inputs, written_beside
from hf_transfer_kit.hub.manifest import MANIFEST, written_files
from hf_transfer_kit.predicting import exporting, onnx_files
from hf_transfer_kit.predicting.exporting import export_onnx, exportable_reading
from hf_transfer_kit.predicting.trial_rows import trial_batch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def timm_folder(folder):
    network, processor = timm_case()
    network.config.pretrained_cfg = dict(processor.data_config)
    network.eval().save_pretrained(folder / "kept")
    save_inputs(folder / "kept", RawInputs("image", processor, InputSizes(image_size=32)))
    return folder / "kept"


def swin_folder(folder):
    """Whose attention torch writes as ONNX by matrix products alone."""
    tiny.TRANSFORMERS["swin"]()[0].eval().save_pretrained(folder / "kept")
    save_inputs(folder / "kept", RawInputs("image", image_processor(), InputSizes()))
    return folder / "kept"


FOLDERS = {
    "pictures": lambda folder: saved_cases.classifier(folder).folder,
    "numbers of texts": lambda folder: saved_cases.plain(folder, "regression").folder,
    "pairs of texts": lambda folder: saved_cases.pairs(folder).folder,
}
FURTHER = {
    "pictures of timm": timm_folder,
    "window attention": swin_folder,
    "classes of words": lambda folder: saved_cases.plain(folder, "token_classification").folder,
}


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def metadata(path):
    return {
        entry.key.removeprefix("hf_transfer_kit."): entry.value
        for entry in onnx.load(path, load_external_data=False).metadata_props
    }


@pytest.mark.parametrize("kind", [*FOLDERS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in FURTHER)])
def test_batches_of_other_sizes_get_the_networks_logits(kind, tmp_path):
    folder = {**FOLDERS, **FURTHER}[kind](tmp_path)
    made = export_onnx(folder, tmp_path / "model.onnx")
    assert made.largest > 0
    assert made.difference <= 1e-4 * made.largest
    model = load_transferred(folder, device="cpu")
    (reading,) = model.readings
    batch = trial_batch(reading, 5, seed=77)
    assert tuple(batch) == made.inputs
    (logits,) = session_of(made.path).run(["logits"], {name: value.numpy() for name, value in batch.items()})
    with torch.no_grad():
        expected = model.network(**batch).logits.numpy()
    assert logits == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_raw_rows_by_the_file_get_the_classes_that_were_measured(tmp_path):
    case = saved_cases.classifier(tmp_path)
    made = export_onnx(load_transferred(case.folder), tmp_path / "model.onnx")
    (reading,) = load_transferred(case.folder).readings
    inputs = {name: value.numpy() for name, value in reading.inputs(case.rows).items()}
    (logits,) = session_of(made.path).run(None, inputs)
    assert logits == pytest.approx(case.logits[None].numpy(), abs=1e-5)
    facts = metadata(made.path)
    assert json.loads(facts["id2label"]) == {"0": "cat", "1": "dog", "2": "owl"}
    assert json.loads(facts["task_type"]) == "classification"
    told = json.loads(facts["preprocessing"])
    assert (told["height"], told["width"], told["channels"]) == (24, 24, 3)
    assert told["mean"] == pytest.approx([0.5] * 3, abs=1e-6)
    assert told["std"] == pytest.approx([0.5] * 3, abs=1e-6)
    assert told["processor"]["image_processor_type"] == "ViTImageProcessor"


def test_what_is_done_to_texts_is_told(tmp_path):
    made = export_onnx(saved_cases.pairs(tmp_path).folder, tmp_path / "model.onnx")
    told = json.loads(metadata(made.path)["preprocessing"])
    assert told["max_length"] == 8
    assert told["pair"] is True
    assert told["pad_token_id"] == 0
    sizes = {entry.name: entry.shape for entry in session_of(made.path).get_inputs()}
    assert all(isinstance(side, str) for shape in sizes.values() for side in shape), "a size is fixed"


def test_trial_texts_are_padded_and_of_different_lengths(tmp_path):
    (reading,) = load_transferred(saved_cases.plain(tmp_path, "regression").folder).readings
    reading = exporting.Reading(
        RawInputs("text", reading.inputs.processor, InputSizes(max_length=20)), reading.meanings
    )
    lengths = trial_batch(reading, 3, seed=0)["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3


def test_adapters_are_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = load_transferred(saved_cases.plain(tmp_path, "multi_label").folder)
    adapted = get_peft_model(model.network, LoraConfig(r=2, target_modules=["query"], init_lora_weights=False))
    model.network = adapted.eval()
    made = export_onnx(model, tmp_path / "model.onnx")
    assert not [node.name for node in onnx.load(made.path).graph.initializer if "lora" in node.name]
    assert made.difference <= 1e-4 * made.largest
    assert model.network is adapted


def test_a_file_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    folder = saved_cases.classifier(tmp_path).folder
    asked = exporting._by_runtime
    monkeypatch.setattr(exporting, "_by_runtime", lambda *given: asked(*given) * (1 + 3e-4))
    with pytest.raises(ModelError, match=r"kept as ONNX says something else .* \(0\.0001 of the largest"):
        export_onnx(folder, tmp_path / "model.onnx")
    monkeypatch.setattr(exporting, "_by_runtime", lambda *given: asked(*given) * float("nan"))
    with pytest.raises(ModelError, match="differ by up to nan"):
        export_onnx(folder, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx")) + list(tmp_path.glob(".unfinished*"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (saved_cases.several_texts, r"kept is a network of several tasks \(topic, tags, score, entities\)"),
        (saved_cases.transcripts, "kept is a network of several tasks"),
    ],
)
def test_several_tasks_are_refused_by_name(make, sentence, tmp_path):
    with pytest.raises(ModelError, match=sentence):
        export_onnx(make(tmp_path).folder, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_other_kinds_are_refused_by_name(tmp_path):
    zero_shot().model.save_pretrained(tmp_path / "unseen")
    save_inputs(tmp_path / "unseen", RawInputs("image", image_processor(), InputSizes()))
    with pytest.raises(ModelError, match="unseen is a zero-shot network"):
        export_onnx(tmp_path / "unseen", tmp_path / "model.onnx")
    open_set = saved_cases.classifier(tmp_path)
    sounds = tmp_path / "sounds"
    open_set.model.save_pretrained(sounds)
    save_inputs(
        sounds, RawInputs("audio", tf.ViTImageProcessor(size={"height": 24, "width": 24}), InputSizes(max_seconds=1.0))
    )
    with pytest.raises(ModelError, match="sounds reads sounds, and export writes networks of pictures and texts"):
        export_onnx(sounds, tmp_path / "model.onnx")
    Rejection("confidence", threshold=0.1).save(open_set.folder)
    with pytest.raises(ModelError, match="kept rejects rows of unknown classes"):
        export_onnx(open_set.folder, tmp_path / "model.onnx")


def test_what_torch_cannot_write_is_told_with_its_cause(tmp_path, monkeypatch):
    model = load_transferred(saved_cases.classifier(tmp_path).folder)

    def forward(**batch):
        if batch["pixel_values"].sum() > 0:
            return type(model.network).forward(model.network, **batch)
        return None

    monkeypatch.setattr(model.network, "forward", forward)
    with pytest.raises(ModelError, match=r"kept, a ViTForImageClassification, cannot be written as ONNX: .*Ask it in"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*.onnx")) + list(tmp_path.glob(".unfinished*"))


def test_weights_beyond_one_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_LARGEST_FILE", 1000)
    with pytest.raises(ModelError, match=r"GiB of weights, and one ONNX file holds 2"):
        export_onnx(saved_cases.classifier(tmp_path).folder, tmp_path / "model.onnx")


def test_files_of_others_are_never_replaced_and_own_ones_when_asked(tmp_path):
    folder = saved_cases.classifier(tmp_path).folder
    path = tmp_path / "model.onnx"
    theirs = onnx.helper.make_model(onnx.helper.make_graph([], "theirs", [], []))
    for content in (b"no network at all", theirs.SerializeToString()):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=r"model\.onnx is there, and this kit did not make it"):
            export_onnx(folder, path, overwrite=True)
        assert path.read_bytes() == content
    path.unlink()
    export_onnx(folder, path)
    with pytest.raises(SettingsError, match=r"model\.onnx is there already"):
        export_onnx(folder, path)
    export_onnx(folder, path, overwrite=True)
    link = tmp_path / "link.onnx"
    link.symlink_to(path)
    with pytest.raises(SettingsError, match="this kit did not make it"):
        export_onnx(folder, link, overwrite=True)


def test_in_a_runs_folder_the_manifest_names_it(tmp_path):
    folder = saved_cases.classifier(tmp_path).folder
    with written_beside(folder) as staged:
        (staged / "report.json").write_text("{}")
    assert (folder / MANIFEST).is_file()
    export_onnx(folder, folder / "model.onnx")
    assert set(written_files(folder)) == {"report.json", "model.onnx"}
    export_onnx(folder, folder / "model.onnx", overwrite=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("model.onx", r"does not end in \.onnx"), ("no/model.onnx", "there is no folder"), ("d.onnx", "is a folder")],
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_loaded(name, sentence, tmp_path):
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(SettingsError, match=sentence):
        export_onnx(tmp_path / "nowhere", tmp_path / name)


def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(
        SettingsError, match=r'onnxruntime, which is not installed: pip install "hf_transfer_kit\[onnx\]"'
    ):
        export_onnx(tmp_path, tmp_path / "model.onnx")


def test_readings_of_plain_networks_are_exportable(tmp_path):
    assert exportable_reading(load_transferred(saved_cases.classifier(tmp_path).folder)).kind == "image"
