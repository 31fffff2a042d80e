"""The pooling that a probe finds best is the one that holds the classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import window_networks
from backbones.test_pooled_encoder import encoder
from hub.sharing_cases import tokenizer
from scripts.test_scripts import run

from hf_transfer_kit import fit_window, load_data, load_model, load_processor, prepare_data
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.measures.pooling_choice import CANDIDATES, choose_pooling


@pytest.fixture
def texts(tmp_path):
    """Two classes, told apart by how many of a text's words are the first of the vocabulary; the first word is not."""
    draw = np.random.default_rng(0)
    lines = ["text,label"]
    for row in range(240):
        label = row % 2
        words = ["w3"] + [f"w{draw.integers(1 + 8 * label, 12 + 8 * label)}" for _ in range(7)]
        lines.append(f"{' '.join(words)},{'ab'[label]}")
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def place(tmp_path):
    """An encoder that looks at each position alone, so that only positions taken together hold the classes."""
    folder = tmp_path / "encoder"
    bare, _ = encoder("bert", folder)
    with torch.no_grad():
        for name, weight in bare.named_parameters():
            if "attention.output" in name:
                weight.zero_() if "LayerNorm" not in name else None
            if "word_embeddings" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    bare.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_the_best_of_a_probe_is_chosen_and_nothing_but_training_rows_is_read(place, texts, tmp_path):
    data = prepare_data(load_data(texts), tokenizer())
    made = []

    def make(pooling):
        made.append(pooling)
        return load_model(place, num_labels=2, pooling=pooling)

    found = choose_pooling(make, data, cache_dir=tmp_path / "cache", max_rows=100)
    assert tuple(made) == CANDIDATES["text"] == tuple(found.accuracy)
    assert found.pooling == max(found.accuracy, key=found.accuracy.get) in ("mean", "max")
    assert found.accuracy["mean"] > found.accuracy["first"] + 0.1
    assert found.rows == 100
    assert str(found).startswith(
        f"The head reads {found.pooling}: of 100 training rows a linear probe tells classifier"
    )


def test_pictures_have_no_such_choice(data):
    with pytest.raises(
        SettingsError, match="chosen by a probe for texts or sounds with classes, and this is classification of"
    ):
        choose_pooling(lambda pooling: None, data)


def test_recipes_choose_and_say_what_was_chosen(place, texts, tmp_path):
    flags = ["--model_name_or_path", place, "--dataset", texts, "--pooling", "probe", "--max_steps", "2"]
    done = run("finetune.py", *flags, "--strategy", "head_only", "--output_dir", tmp_path / "out")
    assert "The head reads m" in done.stdout
    assert "pooling: m" in (tmp_path / "out" / "config.yaml").read_text()
    assert "PooledEncoderForSequenceClassification" in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.parametrize("flags", [["--streaming"], ["--old_classes", "kept"]])
def test_where_it_is_not_known_it_is_refused(flags, place, texts, tmp_path):
    given = ["--model_name_or_path", place, "--dataset", texts, "--pooling", "probe", "--max_steps", "2", *flags]
    done = run("finetune.py", *given, "--output_dir", tmp_path / "out", ok=False)
    assert done.returncode == 2
    assert "--pooling probe is not known for" in done.stderr


def test_sounds_choose_among_their_own_poolings(tmp_path):
    """Two classes of spectra with the same mean over time; one of them swings."""
    place = window_networks.saved("whisper", tmp_path / "network")
    data = prepare_data(
        load_data(window_networks.sounds(tmp_path / "sounds", rows=120)), load_processor(place, "audio")
    )
    draw = np.random.default_rng(0)
    spectra = []
    for row in range(len(data.train)):
        swing = (data.train.label(row) == 0) * np.sign(np.sin(np.arange(100) / 3))[None]
        spectra.append(torch.tensor(draw.normal(0, 0.1, (8, 100)) + swing, dtype=torch.float32))
    data = replace(data, train=Rows(torch.stack(spectra), np.array(data.train.classes) > 0, "input_features"))
    made = []

    def make(pooling):
        made.append(pooling)
        return fit_window(load_model(place, num_labels=2, pooling=pooling), data.processor)

    found = choose_pooling(make, data, cache_dir=tmp_path / "cache")
    assert tuple(made) == CANDIDATES["audio"] == tuple(found.accuracy)
    assert found.pooling == max(found.accuracy, key=found.accuracy.get)
    assert found.accuracy["statistics"] > 0.9
