"""Files into what was measured: inputs saved beside a model make every raw test row's logits those of the run."""

import json

import numpy as np
import pytest
import soundfile
import torch
import transformers as tf
from hub.sharing_cases import tokenizer
from PIL import Image as Pictures
from tiny import SIZES, timm_wrapped

from hf_transfer_kit import load_data, load_inputs, prepare_data
from hf_transfer_kit.errors import DataError, ModelError
from hf_transfer_kit.hub import check_saved, save_inputs
from hf_transfer_kit.multitask import MultiTaskModel
from hf_transfer_kit.zero_shot import ZeroShotModel

CLASSES = ("a", "b", "c")


def pictures(folder):
    draw = np.random.default_rng(0)
    for row in range(45):
        path = folder / CLASSES[row % 3] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pictures.fromarray(draw.integers(0, 255, (30 + row, 40, 3), dtype=np.uint8)).save(path)
    return load_data(folder)


def sounds(folder):
    draw = np.random.default_rng(0)
    for row in range(45):
        path = folder / CLASSES[row % 3] / f"{row}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, draw.uniform(-0.5, 0.5, 400 + 60 * row).astype(np.float32), 8_000)
    return load_data(folder)


def texts(folder, pairs=False):
    folder.mkdir(parents=True)
    words = [" ".join(["good", "bad", "film", "plot"][: 1 + row % 4] * (1 + row % 7)) for row in range(45)]
    second = "\tother" if pairs else ""
    lines = [
        f"text{second}\tlabel",
        *(f"{w}{chr(9) + w[::-1] if pairs else ''}\t{CLASSES[i % 3]}" for i, w in enumerate(words)),
    ]
    (folder / "rows.tsv").write_text("\n".join(lines))
    return load_data(folder / "rows.tsv", input_column="text,other" if pairs else "text", label_column="label")


def vit(channels=3):
    return tf.ViTForImageClassification(
        tf.ViTConfig(image_size=24, patch_size=8, num_channels=channels, num_labels=3, **SIZES)
    )


def vit_processor(side=24):
    return tf.ViTImageProcessor(size={"height": side, "width": side})


def timm_case():
    network = timm_wrapped("resnet18", 3)[0]
    config = {
        "input_size": (3, 40, 40),
        "mean": (0.4,) * 3,
        "std": (0.3,) * 3,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
    }
    return network, tf.TimmWrapperImageProcessor(pretrained_cfg=config)


def bert():
    return tf.BertForSequenceClassification(
        tf.BertConfig(vocab_size=40, num_labels=3, max_position_embeddings=64, **SIZES)
    )


def wav2vec2(mask):
    norm = {"feat_extract_norm": "layer" if mask else "group"}
    config = tf.Wav2Vec2Config(
        num_feat_extract_layers=2, conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, classifier_proj_size=8, num_labels=3, initializer_range=1.0, **norm, **SIZES,
    )  # fmt: skip
    return tf.Wav2Vec2ForSequenceClassification(config), tf.Wav2Vec2FeatureExtractor(return_attention_mask=mask)


def whisper():
    config = tf.WhisperConfig(
        d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50, num_mel_bins=8, num_labels=3,
        classifier_proj_size=8,
    )  # fmt: skip
    return tf.WhisperForAudioClassification(config), tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1)


CASES = {
    "pictures": (pictures, lambda: (vit(), vit_processor(48)), {"image_size": 24}),
    "pictures of timm": (pictures, timm_case, {"image_size": 32}),
    "texts": (texts, lambda: (bert(), tokenizer()), {"max_length": 9}),
    "waves without a mask": (sounds, lambda: wav2vec2(False), {"max_seconds": 0.2}),
    "waves with a mask": (sounds, lambda: wav2vec2(True), {}),
    "features": (sounds, whisper, {"max_seconds": 0.15}),
    "pictures of sounds": (sounds, lambda: (vit(), vit_processor(24)), {}),
    "pictures of sounds, timm": (sounds, timm_case, {"image_size": 32, "max_seconds": 0.2}),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    make_data, make_network, sizes = CASES[request.param]
    data = make_data(tmp_path / "data")
    network, processor = make_network()
    return data, network.eval(), prepare_data(data, processor, **sizes)


def kept(kind, network, prepared):
    """The network itself, or as the trunk of another model, and how that is asked."""
    if kind == "classifier":
        network.config.id2label = dict(enumerate(prepared.label_names))
        return network, {}
    if kind == "multitask":
        tasks = {"first": {"type": "classification", "num_labels": 3}, "second": {"type": "regression"}}
        return MultiTaskModel.from_backbone(network, tasks, seed=0).eval(), {"task": "first"}
    table = {"a": {"round": 1.0, "red": 0.0}, "b": {"round": 0.0, "red": 1.0}, "c": {"round": 0.5, "red": 0.2}}
    return ZeroShotModel.from_backbone(network, table, method="ale", seed=0).eval(), {}


@pytest.mark.parametrize("kind", ["classifier", "multitask", "zero_shot"])
def test_every_raw_row_gets_the_measured_logits(kind, case, tmp_path):
    data, network, prepared = case
    model, asked = kept(kind, network, prepared)
    model.save_pretrained(tmp_path / "kept")
    if kind == "classifier" and hasattr(prepared.processor, "data_config"):
        size = {"input_size": list(prepared.processor.data_config["input_size"])}
        network.config.pretrained_cfg = {**prepared.processor.data_config, **size}
        network.save_pretrained(tmp_path / "kept")
    save_inputs(tmp_path / "kept", prepared.raw_inputs)
    assert check_saved(tmp_path / "kept", model, data, prepared, max_rows=None, **asked) == len(data.test)
    # One row alone is what it is in a batch, from a path as from stored bytes.
    inputs = load_inputs(tmp_path / "kept")
    batch = prepared.collator([prepared.test[row] for row in range(4)])
    batch.pop("labels")
    with torch.no_grad():
        together = model(**batch, **asked).logits
        alone = torch.cat([model(**inputs([_as_given(data, row)]), **asked).logits for row in range(4)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-4 * float(together.abs().max().clamp(min=1)))


def _as_given(data, row):
    from hf_transfer_kit.data import raw_rows

    stored = raw_rows(data, "test")[row]
    return stored["path"] if isinstance(stored, dict) and stored.get("path") else stored


@pytest.mark.parametrize("setting", ["image_size", "channels"])
def test_what_the_file_says_counts(setting, tmp_path):
    prepared = prepare_data(pictures(tmp_path / "data"), vit_processor(48), image_size=24, channels=1)
    save_inputs(tmp_path / "kept", prepared.raw_inputs)
    row = prepared.raw_inputs([str(next((tmp_path / "data" / "a").iterdir()))])["pixel_values"]
    assert row.shape == (1, 1, 24, 24)
    path = tmp_path / "kept" / "inputs.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, setting: {"image_size": 32, "channels": 3}[setting]}))
    shape = load_inputs(tmp_path / "kept")([str(next((tmp_path / "data" / "a").iterdir()))])["pixel_values"].shape
    assert shape == {"image_size": (1, 1, 32, 32), "channels": (1, 3, 24, 24)}[setting]


def test_inputs_that_differ_lie_apart(tmp_path):
    data = pictures(tmp_path / "data")
    grey, colour = (prepare_data(data, vit_processor(24), channels=n).raw_inputs for n in (1, 3))
    save_inputs(tmp_path / "two", {"grey": grey, "colour": colour})
    save_inputs(tmp_path / "one", {"x": colour, "y": colour})
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["processors"]
    picture = str(next((tmp_path / "data" / "a").iterdir()))
    for folder, name, true in (
        ("two", "grey", grey),
        ("two", "colour", colour),
        ("one", None, colour),
        ("one", "x", colour),
    ):
        found = load_inputs(tmp_path / folder, input=name)([picture])["pixel_values"]
        assert torch.equal(found, true([picture])["pixel_values"])


def test_pairs_and_words_are_read_as_they_were(tmp_path):
    from hf_transfer_kit.data import InputSizes, RawInputs

    inputs = RawInputs("text", tokenizer(), InputSizes(max_length=5))
    pair = inputs([("good film", "bad"), ("good", "plot")])
    assert pair["input_ids"].shape == (2, 3)
    assert inputs([["good", "bad", "film"]])["input_ids"].tolist() == inputs(["good bad film"])["input_ids"].tolist()
    assert inputs(["good " * 9])["input_ids"].shape == (1, 5)


@pytest.mark.parametrize("broken", ["absent", "not json", "a field missing", "modality"])
def test_a_folder_without_inputs_is_told(broken, tmp_path):
    save_inputs(tmp_path, prepare_data(pictures(tmp_path / "data"), vit_processor(24)).raw_inputs)
    path = tmp_path / "inputs.json"
    if broken == "absent":
        path.unlink()
    elif broken == "modality":
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in settings.items() if name != broken}))
    else:
        path.write_text("{" if broken == "not json" else '{"modality": "image", "reads": "image"}')
    with pytest.raises(ModelError, match=r"keeps no inputs \(.*write inputs.json beside a model"):
        load_inputs(tmp_path)


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    inputs = prepare_data(pictures(tmp_path / "data"), vit_processor(24)).raw_inputs
    (tmp_path / "no.png").write_text("words")
    good = str(next((tmp_path / "data" / "a").iterdir()))
    for bad in (tmp_path / "no.png", tmp_path / "absent.png"):
        with pytest.raises(DataError, match="Row 1 cannot be read: "):
            inputs([good, bad])
