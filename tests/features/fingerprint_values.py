"""Values whose fingerprints must be the same in every process; run as a program it prints them."""

import json
from functools import partial

import numpy as np
import torch
from datasets import Dataset
from PIL import Image as Pictures
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    ViTImageProcessor,
    Wav2Vec2FeatureExtractor,
    default_data_collator,
)

from hf_transfer_kit.data import load_data, prepare_data
from hf_transfer_kit.data.collating import FeatureCollator, TextCollator, WaveCollator
from hf_transfer_kit.features import data_fingerprint, transform_fingerprint, weights_fingerprint


def tokenizer(words=("good", "bad", "film"), **settings):
    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", *words))}
    rules = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", **settings)


def digits(image_size=16, **settings):
    processor = ViTImageProcessor(size={"height": 24, "width": 24}, image_mean=[0.5] * 3, image_std=[0.2] * 3)
    return prepare_data(load_data("digits"), processor, image_size=image_size, **settings)


def picture(grey=0):
    return Pictures.fromarray(np.full((4, 4, 3), grey, dtype=np.uint8))


def rows(length=3):
    return [
        {"x": torch.arange(3.0), "tokens": [1, 2, row], "labels": row, "image": picture(row)} for row in range(length)
    ]


class Squares:
    """A map-style dataset of nobody's library."""

    def __init__(self, length, kinds=tuple("abcdefghijk")):
        self.length = length
        self.kinds = set(kinds)
        self.itself = self

    def __len__(self):
        return self.length

    def __getitem__(self, row):
        return {"x": torch.tensor([row**2.0])}


def doubled(batch):
    return {name: [2 * value for value in values] for name, values in batch.items()}


def weights():
    torch.manual_seed(0)
    return {**nn.Linear(3, 2).state_dict(), "half": torch.randn(3).bfloat16(), "count": torch.tensor(3)}


def data():
    plain = Dataset.from_dict({"x": [1, 2, 3], "label": [0, 1, 0]})
    return {
        "images": digits().train,
        "augmented images": digits(augment=True).train,
        "images decoded when asked for": digits(memory_limit=100).train,
        "list": rows(),
        "subset": Subset(rows(), [2, 0]),
        "concatenated": ConcatDataset([rows(), rows(2)]),
        "tensors": TensorDataset(torch.arange(6.0).view(3, 2), torch.arange(3)),
        "dataset": plain,
        "dataset as torch": plain.with_format("torch"),
        "dataset with a transform": plain.with_transform(doubled),
        "dataset with a lambda": plain.with_transform(lambda batch: batch),
        "selected": plain.select([2, 0]),
        "of its own class": Squares(5),
    }


def transforms():
    return {
        "none": None,
        "images": digits().collator,
        "texts": TextCollator(tokenizer()),
        "waves": WaveCollator(Wav2Vec2FeatureExtractor()),
        "features": FeatureCollator(),
        "default": default_data_collator,
        "padding": DataCollatorWithPadding(tokenizer()),
        "partial": partial(doubled, 3, size={"a", "b"}),
        "method": [].append,
        "module": nn.Sequential(nn.Flatten(), nn.ReLU()),
    }


def fingerprints():
    return {
        **{f"data: {name}": data_fingerprint(value) for name, value in data().items()},
        **{f"transform: {name}": transform_fingerprint(value) for name, value in transforms().items()},
        "weights": weights_fingerprint(weights()),
    }


if __name__ == "__main__":
    from features.fingerprint_values import fingerprints as by_module_name

    print(json.dumps(by_module_name()))
