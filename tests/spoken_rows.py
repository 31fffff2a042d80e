"""Sounds that spell: each symbol a tone of its own, a tiny network for CTC, and both ways of padding."""

from __future__ import annotations

import numpy as np
import torch
import transformers as tf

from hf_transfer_kit import replace_head
from hf_transfer_kit.data import InputSizes, PreparedData
from hf_transfer_kit.data.collating import WaveCollator
from hf_transfer_kit.data.memory import Rows

SYMBOLS = ("<blank>", " ", "a", "b")
SIZES = {"train": 48, "validation": 16, "test": 20}
RATE, SAMPLES = 2000, 200
"""Samples a second, and of one symbol."""
PITCHES = {1: 2.0, 2: 0.1, 3: 0.7}
"""Of each symbol, in radians a sample."""


def spoken(rows: int, seed: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Waves of one to three words of one or two letters, and their transcripts."""
    draw = np.random.default_rng(seed)
    waves, labels = [], []
    for _ in range(rows):
        words = [draw.integers(2, 4, size=draw.integers(1, 3)).tolist() for _ in range(draw.integers(1, 4))]
        text = [symbol for word in words for symbol in (1, *word)][1:]
        time = np.arange(SAMPLES)
        tones = [np.sin(PITCHES[symbol] * time) for symbol in text]
        waves.append((np.concatenate(tones) + 0.02 * draw.normal(size=SAMPLES * len(text))).astype(np.float32))
        labels.append(text)
    return waves, labels


def extractor(*, masked: bool = True) -> tf.Wav2Vec2FeatureExtractor:
    return tf.Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=masked)


def spoken_data(*, masked: bool = True, **changes) -> PreparedData:
    splits = {split: Rows(*spoken(rows, seed), "wave") for seed, (split, rows) in enumerate(SIZES.items())}
    seconds = 8 * SAMPLES / RATE
    return PreparedData(
        **splits,
        collator=WaveCollator(extractor(masked=masked), 8 * SAMPLES),
        modality="audio",
        label_names=SYMBOLS,
        sizes=InputSizes(max_seconds=seconds),
        task_type="ctc",
        processor=extractor(masked=masked),
        **changes,
    )


def speller(seed: int, *, masked: bool = True) -> tf.Wav2Vec2ForCTC:
    """Positions of 40 samples, five of them a symbol."""
    torch.manual_seed(seed)
    norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True} if masked else {"feat_extract_norm": "group"}
    config = tf.Wav2Vec2Config(
        vocab_size=7, num_feat_extract_layers=2, conv_dim=(16, 16), conv_kernel=(20, 4), conv_stride=(20, 2),
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, layerdrop=0.0, mask_time_prob=0.0, hidden_dropout=0.0, final_dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, **norm,
    )  # fmt: skip
    return replace_head(tf.Wav2Vec2ForCTC(config), id2label=dict(enumerate(SYMBOLS)), seed=seed)
