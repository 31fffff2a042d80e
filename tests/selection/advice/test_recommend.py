"""recommend: what is measured, the plan and its words, and bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from advice_cases import case
from snapshots import moved, snapshot
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from hf_transfer_kit import load_data, make_strategy, prepare_data, recommend
from hf_transfer_kit.data.memory import Rows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection import Budget, default_steps
from hf_transfer_kit.selection.advice import Experience, Settings, measure_case
from hf_transfer_kit.selection.advice.measuring import stratified_rows

PROCESSOR = ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


@pytest.fixture(scope="module")
def data():
    return prepare_data(load_data("digits", train_size=200), PROCESSOR)


def network():
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=10)
    return ResNetForImageClassification(config)


def experience(**settings):
    sizes = (2, 10, 50, 200, 500, 1_000)
    accuracies = [{"head_only": 0.75 - 0.1 * math.log10(size), "full": 0.6, "from_scratch": 0.4} for size in sizes]
    cases = tuple(case(size, target=f"t{size}", **found) for size, found in zip(sizes, accuracies, strict=True))
    values = {"strength": 0.3, "many_rows": 100.0, "similar_gain": 0.1, **settings}
    return Experience(cases, Settings(**values), "command", {"within_a_point": 1.0, "mean_regret": {}})


def test_measuring_reads_few_training_rows_and_changes_nothing(data, tmp_path):
    model = network()
    before = snapshot(model)
    state = torch.get_rng_state()
    found = measure_case(model, data, Budget(50, 16), cache_dir=tmp_path)
    assert moved(before, model) == set()
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.rows, found.classes) == (len(data.train), 10)
    assert found.measured_rows == pytest.approx(80, abs=8)  # a tenth of 50 x 16
    assert found.probe_accuracy > found.half_accuracy > 0.3
    assert found.gain == found.probe_accuracy - found.random_accuracy
    again = measure_case(model, data, Budget(50, 16), cache_dir=tmp_path)
    assert replace(again, seconds=0.0) == replace(found, seconds=0.0)


def test_the_plan_is_what_near_cases_say_and_runs(data, tmp_path):
    found = recommend(network(), data, budget=Budget(60, 16), experience=experience(), cache_dir=tmp_path)
    assert found.strategy == "head_only"
    assert found.quadrant.startswith("small")
    assert found.reasons[-1].startswith("Augmentation is off")
    assert found.plan == {
        "augment": False,
        "strategy": "head_only",
        "max_steps": 60,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "warmup_steps": 6,
    }
    make_strategy(found.strategy)
    assert next(entry.strategy for entry in found.outlook) == "head_only"
    words = str(found)
    assert "rows of 10 classes" in words
    assert "the data would count as large" in words


def test_size_and_similarity_turn_the_quadrant(data, tmp_path):
    options = {"budget": Budget(60, 16), "cache_dir": tmp_path}
    large = recommend(network(), data, experience=experience(many_rows=5.0, similar_gain=2.0), **options)
    assert large.quadrant == "large, different"
    assert any("rank_sources" in sentence for sentence in large.would_change)
    similar = recommend(network(), data, experience=experience(similar_gain=-2.0), **options)
    assert similar.quadrant == "small, similar"


def test_unlabelled_rows_absent_classes_and_the_source_have_their_sentence(data, tmp_path):
    found = recommend(
        network(),
        data,
        budget=Budget(60, 16),
        experience=experience(),
        unlabelled_rows=5_000,
        source=data,
        cache_dir=tmp_path,
    )
    assert any("5,000 rows without labels" in sentence and "adapt.py" in sentence for sentence in found.would_change)
    assert "mmd" in found.reasons[-1].lower()
    kept = np.flatnonzero(data.train.classes != 3)
    fewer = replace(data, train=Rows(data.train.values[kept], data.train.classes[kept], data.train.name))
    found = recommend(network(), fewer, budget=Budget(60, 16), experience=experience(), cache_dir=tmp_path)
    assert any("zero_shot.py" in sentence for sentence in found.would_change)


def test_names_are_loaded_and_prepared(tmp_path):
    network().save_pretrained(tmp_path / "model")
    PROCESSOR.save_pretrained(tmp_path / "model")
    found = recommend(tmp_path / "model", "digits", experience=experience(), cache_dir=tmp_path, image_size=16)
    assert found.measures.classes == 10
    assert found.plan["max_steps"] == default_steps(found.measures.rows, 32, "image")


def test_rows_are_stratified():
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    chosen = stratified_rows(labels, 20, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [18, 2, 1]
    assert stratified_rows(labels, 100, seed=0).tolist() == list(range(100))


def test_bad_input_is_a_sentence(data, tmp_path):
    one = replace(data, train=Rows(data.train.values[:5], np.zeros(5, int), data.train.name))
    with pytest.raises(DataError, match="hold one class"):
        recommend(network(), one, experience=experience(), cache_dir=tmp_path)
    single = replace(data, train=Rows(data.train.values[:5], np.arange(5), data.train.name))
    with pytest.raises(DataError, match="one row a class"):
        recommend(network(), single, experience=experience(), cache_dir=tmp_path)
    with pytest.raises(SettingsError, match="does not say how its inputs are prepared"):
        recommend(network(), "digits", experience=experience())
    with pytest.raises(SettingsError, match="image_size: for a dataset given by name"):
        recommend(network(), data, experience=experience(), image_size=8)
