"""A target with rows of a class that the source lacks: nothing of it is learned, and what is rejected is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from selection.adapting.domain_data import NAMES, network, rows
from torch.utils.data import default_collate
from transformers import TrainingArguments

from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.memory import Rows, SomeRows
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.adapting import (
    Domains,
    compare_adaptations,
    find_rejection,
    held_out_classes,
    judged,
    make_method,
    open_domains,
)

UNKNOWN = 3
SIZES = {"train": 48, "validation": 60, "test": 60}
BUDGET = Budget(60, 8, evaluations=1, learning_rate=5e-3)


def with_unknown(count, seed):
    """Target rows of which every fourth shows noise alone, a class of its own."""
    made = rows(count, seed, target=True)
    images, classes = made.values.clone(), made.classes.copy()
    images[::4] = 0.1 * torch.randn(len(images[::4]), 3, 28, 28, generator=torch.Generator().manual_seed(seed))
    classes[::4] = UNKNOWN
    return Rows(images, classes, "pixel_values")


def prepared(make, seed, names):
    made = {name: make(size, seed + number) for number, (name, size) in enumerate(SIZES.items())}
    return PreparedData(**made, collator=default_collate, modality="image", label_names=names)


@pytest.fixture
def domains():
    source, target = prepared(rows, 0, NAMES), prepared(with_unknown, 10, (*NAMES, "noise"))
    return Domains(source, target, labelled=("train", "validation", "test"), pretrained=False)


def test_labels_of_an_open_target_are_for_its_test_rows_alone(domains):
    found, judged_on = open_domains(domains)
    assert found.labelled == ("test",)
    assert "labels" not in found.target.train[0] | found.target.validation[0]
    assert set(found.target.test.classes) == {0, 1, 2}
    assert len(found.target.test) == 45
    assert len(found.target.train) == 48
    assert judged_on is domains.target
    bare, nothing = open_domains(replace(domains, labelled=()))
    assert (bare.labelled, nothing) == ((), None)
    assert "labels" not in bare.target.test[0]
    unknown = Rows(domains.target.test.values, np.full(60, UNKNOWN), "pixel_values")
    with pytest.raises(DataError, match="No test row of the target has a class that the source has"):
        open_domains(replace(domains, target=replace(domains.target, test=unknown)))


def test_rows_are_taken_with_their_labels():
    taken = SomeRows(rows(9, 0), [8, 1, 1])
    assert (len(taken), taken.classes.tolist(), taken.label(0), taken[1]["labels"]) == (3, [2, 1, 1], 2, 1)


def test_a_third_of_the_classes_stands_for_unknown_ones():
    assert len(held_out_classes(NAMES)) == 1
    assert len(held_out_classes("abcdefgh", seed=1)) == 2
    assert held_out_classes("abcdefgh", seed=1) != held_out_classes("abcdefgh", seed=4)
    with pytest.raises(SettingsError, match="The source has 2 classes"):
        held_out_classes(["a", "b"])


def test_unknown_rows_are_rejected_and_their_labels_choose_nothing(domains, tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True)
    asked, judged_on = open_domains(domains)
    found = compare_adaptations(["source_only", "dann"], network, asked, args, BUDGET, select="last")
    assert 0 < found.run.test["accuracy"] <= 1
    choice, unknown = find_rejection(
        make_method(found.chosen), found.run, network, asked, args, BUDGET, select="last", held_out=[2]
    )
    assert unknown.held_out == ("top",)
    assert unknown.held_out_auroc > 0.8
    assert unknown.test == {}
    shown = judged(unknown, choice, found.run, judged_on)
    assert shown.test["unknown_auroc"] > 0.8
    assert shown.test["known_accuracy"] <= found.run.test["accuracy"]
    assert replace(shown, test={}) == unknown
    known_alone = replace(judged_on, test=asked.target.test.rows)
    labels = np.zeros(len(known_alone.test), dtype=int)
    known_alone = replace(known_alone, test=Rows(known_alone.test.values, labels, "pixel_values"))
    assert judged(unknown, choice, found.run, known_alone) == unknown
    with pytest.raises(SettingsError, match=r"held_out=\(0, 1\) of 3 classes: leave at least two"):
        find_rejection(make_method("dann"), found.run, network, asked, args, BUDGET, select="last", held_out=[1, 0])
