import numpy as np
import pytest
import tiny
from datasets import Dataset
from reports.adaptation_case import adaptation, without_labels

from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.reports import RunFacts, adaptation_report, adaptation_table
from hf_transfer_kit.selection import Budget


def loaded(name: str, rows: int) -> LoadedData:
    data = Dataset.from_dict({"x": list(range(rows)), "label": [0] * rows})
    return LoadedData(name, "image", data, data, data, ("x",), "label", ("cat", "dog", "owl"), skipped_rows=rows)


def report(found, **options):
    model, _ = tiny.timm_wrapped("resnet18", 3)
    rows = np.zeros(3)
    facts = RunFacts(
        "net", "python scripts/adapt.py", 7, Budget(15, 4), 5e-4, {"total": 12.0}, options.pop("notes", ())
    )
    return adaptation_report(
        found,
        model,
        facts,
        data=loaded("m", 3),
        source=loaded("s", 5),
        prepared=PreparedData(rows, rows, rows, None, "image", ("cat", "dog", "owl"), {"image_size": 28}),
        **options,
    )


def test_the_report_says_what_was_run_on_what():
    made = report(adaptation(), model_metrics={"accuracy": 0.83}, notes=("Slow.",))
    assert (made.recipe, made.title, made.winner) == ("adapt", "net from mnist to mnist_m", "dann:weight=0.5")
    assert made.metrics == {"accuracy": 0.83}
    assert {method: test["accuracy"] for method, test in made.baselines.items()} == pytest.approx(
        {"source_only": 0.58, "entropy": 0.32, "target_labels": 0.96}
    )
    assert made.plan == {
        "method": "dann:weight=0.5", "learning_rate": 5e-4, "max_steps": 15, "batch_size": 4,
        "selected_by": "information",
    }  # fmt: skip
    assert made.data["sizes"]["train"] == 3
    assert made.data["source"]["name"] == "mnist"
    assert made.data["source"]["sizes"] == {"train": 5, "validation": 5, "test": 5}
    assert made.data["source"]["skipped_rows"] == 5
    assert made.budget == {"steps": 15, "batch_size": 4, "seeds": [0, 1]}
    assert made.seconds == {
        "total": 12.0, "source_only": 61.25, "dann:weight=0.5": 61.25, "entropy": 61.25, "target_labels": 61.25,
    }  # fmt: skip
    assert made.layer_groups[-1]["head"]
    assert made.notes == ("Slow.",)


def test_without_labels_there_are_no_metrics():
    made = report(without_labels(adaptation()))
    assert (made.metrics, made.baselines) == ({}, {})


def test_the_table_marks_the_choice():
    lines = adaptation_table(adaptation()).splitlines()
    assert lines[0].split() == ["method", "source", "val.", "information", "target", "test", "seconds"]
    (marked,) = [line for line in lines if line.startswith("*")]
    assert marked.split() == ["*", "dann:weight=0.5", "0.970", "1.840", "0.840", "±", "0.013", "61.2"]
    assert len({len(line) for line in lines}) == 1


def test_the_table_has_dashes_where_nothing_is_known():
    line = adaptation_table(without_labels(adaptation())).splitlines()[1]
    assert line.split() == ["source_only", "0.970", "1.580", "\N{EN DASH}", "61.2"]
