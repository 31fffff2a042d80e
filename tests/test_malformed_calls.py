"""Public words called with arguments that cannot be: one of the kit's errors, at once, for every public function."""

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers
from datasets import Dataset
from transformers import ViTImageProcessor, default_data_collator

import hf_transfer_kit
from hf_transfer_kit.errors import TransferKitError
from hf_transfer_kit.selection import Budget

NAN, INF, HUGE = float("nan"), float("inf"), 10**30
ROWS = [{"pixel_values": torch.zeros(3, 32, 32), "labels": index % 3} for index in range(6)]
FEATURES = np.arange(60.0).reshape(20, 3) % 7
LABELS = np.arange(20) % 2

# Word -> what a call of it needs; then argument -> values that it must refuse.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, list[Any]]]] = [
    ("AdversarialSchedule", (), {"schedule": ["dan", 3, ["a"]], "highest": [NAN, INF, -1.0, "x", True], "gamma": [0, "x", NAN]}),
    ("AttributeTable.of", (), {"source": [{0: 0}, {"a": None}, {"a": "xy"}, {"a": [1], "b": {"x": 1}}, {}, 3, None, [], "nowhere.csv", {"a": [10**400]}, {"a": [NAN]}, {"a": [0]}], }),
    ("AttributeTable.of", ({"a": [1], "b": [2]},), {"missing": ["men"], "unknown": ["x"]}),
    ("BSS", (), {"alpha": [NAN, -1, "x", True], "k": [0, 1.5, "x"]}),
    ("ClassBalance", (), {"weights": ["balancd", 3, {}, ["a"], {"a": NAN}, {"a": 0}], "sampler": ["balancd", 3], "metric": ["acuracy"], "margin": [-1, NAN, "x"]}),
    ("CoTuning", (), {"alpha": [NAN, -1, "x"], "source": [3]}),
    ("DELTA", (), {"alpha": [NAN, -1, "x"], "beta": [INF], "attention": ["los"], "attention_rows": [1, "x"], "layers": [1.5, NAN, True]}),
    ("DomainAdversarialConfig", (), {"backbone_config": [3, "nope", {}, [None], {"model_type": "nope"}], "method": ["dan", ["a"]], "batch_norm": ["jont"], "method_options": [3, "nope"]}),
    ("DomainCollator", (), {"collator": [3, None]}),
    ("DomainPairs", (ROWS, ROWS), {"source": [[], 3], "target": [[], None], "seed": [-1, 1.5, HUGE], "target_columns": [3]}),
    ("FreezeLayers", (), {"first": ["x", 1.5], "fraction": [NAN, "x"], "batch_norm": ["freez"], "dropout": ["of"]}),
    ("FreezeSchedule", (), {"stages": [3, [], {}, "nowhere.yaml", [{"train": "head", "untl": 1}], [{3: 4}], [{"train": 1.5}], [{"train": "all", "rates": {"body": NAN}}], [{"train": "head", "until": NAN}, {"train": "all"}], [{"train": "all", "early_stopping": {"metric": "a", "patience": 1, "min_delta": "x"}}]]}),
    ("FreezeSchedule", ([{"train": "all"}],), {"quiet": ["maybe"], "dropout": ["of"]}),
    ("GradualUnfreezing", (), {"every": ["soon", NAN, 0], "order": ["topdown"], "groups_per_stage": [0, "x"], "keep_frozen": [-1, True]}),
    ("L2SP", (), {"alpha": [NAN, -1, "x"], "norm": ["l3"], "groups": [3, [None], [1, 1]]}),
    ("L2SPFisher", (), {"alpha": [NAN], "labels": ["empircal"], "num_samples": ["x"], "batch_size": ["x"], "fisher": [3]}),
    ("LwF", (), {"alpha": [NAN, -1], "temperature": [0, NAN, "x"], "source": [3], "own_head": ["maybe"]}),
    ("MultiTaskConfig", (), {"tasks": [3, "nope", [None], {"a": None}, {"a": {}}, {"a": {"type": "clasification"}}, {"a": {"type": "classification", "num_labels": HUGE}}, {"a": {"type": "classification", "num_label": 3}}], "inputs": [3, "nope", [None]], "shared_from": [-1, "x"], "batch_norm": ["per_inpt"]}),
    ("MultiTaskDataset", (), {"sources": [{}, 3, {"a": 3}]}),
    ("PseudoLabels", (ROWS, default_data_collator), {"every": [0, "x"], "batch_size": [0, "x"]}),
    ("ReestimateBatchNorm", (ROWS, default_data_collator), {"batch_size": [0, -1, "x"], "max_rows": [0, "x"], "target": [3]}),
    ("RestoreWeights", (), {"checkpoint": [3, ["a"]]}),
    ("RoundWeights", (), {"dtype": ["float23", 3]}),
    ("SWAD", (), {"start_patience": [0, "x"], "end_patience": [0], "tolerance": [-1, NAN], "metric": [3]}),
    ("SeveralSources", (), {"sources": [{}, 3, {"a": []}, {"a": 3}]}),
    ("SeveralSourcesConfig", (), {"backbone_config": [3, {}], "method": ["jont"], "sources": [3], "method_options": [3, "nope"]}),
    ("SourceRows", (), {"rows": [3, "nope", None]}),
    ("TargetRows", (), {"rows": [3, "nope", None]}),
    ("WeightInterpolation", (), {"alphas": [[], [2.0], [NAN], 3, [None]], "metric": ["acc"], "batch_size": [0, "x"]}),
    ("ZeroShotConfig", (), {"method": ["eszs", ["a"]], "gamma": [NAN, "x"], "classes": [3, "nope", {"a": None}], "method_options": [3, "nope"]}),
    ("cache_boundaries", ("MODEL", {"train": ROWS}), {"model": [3, None], "datasets": [{}, 3], "dtype": ["float7"], "batch_size": [0, "x"], "cache_budget": ["4XB", NAN]}),
    ("cache_features", ("MODEL", ROWS), {"model": [3, None], "layer": ["nope", 99, 1.5], "pooling": ["mea"], "dtype": ["float7"], "batch_size": [0, "x"]}),
    ("cache_prefix", ("MODEL", 1, ROWS), {"model": [3, None], "k": [99, -1, "x", 1.5], "dtype": ["float7"], "batch_size": [0, "x"], "cache_budget": ["4XB"], "views": [0, "x"]}),
    ("class_embeddings", (), {"names": [3, "cat"]}),
    ("classification_metrics", (["a", "b"],), {"label_names": [3], "top_k": [0, "x"]}),
    ("compare_strategies", ("MAKER", "DATA", ["full"], "ARGS", Budget(2, 4)), {"strategies": [["ful"], [], 3, ["full", "full"]], "seeds": [[], [0, 0], 3, ["x"]], "reduction_factor": [1, 0, "x"]}),
    ("domain_distance", (FEATURES, FEATURES), {"kind": ["mmm", [], 3], "permutations": [-1, "x"], "max_rows": [0, "x"], "seed": ["x"]}),
    ("extend_head", ("MODEL", ["x"]), {"new_classes": [[], 0, -1, ["a", "a"], 1.5], "model": [3, None]}),
    ("find_learning_rate", (lambda: None,), {"start": [0.0, NAN, "x"], "end": [NAN, "x"], "steps": [0, "x"], "smoothing": [NAN, 2.0]}),
    ("layer_groups", (), {"model": [3, None, "nope"]}),
    ("layerwise_optimizer", ("MODEL", "ARGS"), {"decay": [0.0, 2.0, NAN, "x"], "head": [NAN, "x", -1.0]}),
    ("linear_probe", (FEATURES, LABELS), {"kind": ["logistc"], "strengths": [[], [0.0], [NAN], 3], "seed": ["x"]}),
    ("load_data", ("digits",), {"name_or_path": ["", "digis", "/no/such/place", 3], "validation_size": [1.0, 2.5, 0.0, NAN, "x", -1], "test_size": [1.0, INF], "seed": [-1, HUGE, "x"], "task_type": ["clasification"], "keep_rows": ["x", {"label": "x"}, {"label": 3}], "label_column": ["lable", 3], "input_column": ["imag"], "train_size": [0, NAN, INF, "x", True, 10**9]}),
    ("load_model", ("NETWORK",), {"name_or_path": ["/no/such/place", "EMPTY", "DAMAGED", "NO_CONFIG", 3], "id2label": [{}, {0: "a", 1: "a"}, {1: "a"}, {"x": "a"}, 3, ["a"]], "num_labels": [0, -1, HUGE, "x", 1.5], "dtype": ["float23"], "revision": ["main"], "seed": ["x"], "modality": ["imag"]}),
    ("load_processor", ("NETWORK",), {"modality": ["imag", 3]}),
    ("load_tower_classifier", ("NETWORK",), {"id2label": [{}, {0: "a"}, 3]}),
    ("load_transferred", ("NETWORK",), {"name_or_path": ["/no/such/place", "EMPTY", "NETWORK", 3], "dtype": ["float7", 3], "device": ["gpu"], "classes": [3], "revision": [3, "main"]}),
    ("make_strategy", (), {"specification": ["ful", "", ":", "freeze_first:k=]", "lora:r=abc", 3, None, "full:x=1"]}),
    ("prepare_data", ("LOADED", "PROCESSOR"), {"augment": ["noflip", 3], "image_size": [0, 1, -1, "x", 10**6, 1.5], "max_length": [0, -1, "x"], "max_seconds": [0.0, NAN, INF, "x"], "channels": [2, "x"]}),
    ("rank_sources", (["dann_mnist"], "LOADED"), {"checkpoints": [[], ["a", "a"], 3], "by": ["hscor", 3], "max_rows": [0, "x"], "scores": [3, ["hscor"]]}),
    ("recommend", ("MODEL", "DATA"), {"unlabelled_rows": ["x"], "batch_size": ["x"], "seed": ["x"]}),
    ("register_architecture", (), {"model_class": [3, None]}),
    ("register_head", (), {"model_class": [3, int]}),
    ("reestimate_batch_norm", ("MODEL", ROWS, default_data_collator), {"batch_size": [0, "x"], "max_rows": [0, "x"], "target": [[]]}),
    ("reinitialize", ("MODEL",), {"last": [0, 99, "x", 1.5], "model": [3]}),
    ("replace_head", ("MODEL",), {"num_labels": [0, -1, HUGE, "x", 1.5], "id2label": [{}, {0: "a", 1: "a"}, {1: "a"}, 3], "init": ["zero"], "model": [3]}),
    ("replayed_rows", ("TRAIN", "TRAIN"), {"per_class": [0, "x"], "seed": ["x"]}),
    ("search_freeze_depth", ("MAKER", "DATA", "ARGS", Budget(2, 4)), {"direction": ["frist"], "share": [0.0, NAN, 2.0, "x"], "seeds": [[], [0, 0], 3], "depths": [[], [-1], [99], 3], "reduction_factor": [1, "x"], "dtype": ["float7"]}),
    ("transferability", (FEATURES, LABELS), {"scores": [["hscor"], 3], "draws": ["x"], "seed": ["x"]}),
]  # fmt: skip


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> dict[str, Callable[[], Any]]:
    """What the names in capitals stand for."""
    folder = tmp_path_factory.mktemp("calls")
    torch.manual_seed(0)

    def model() -> transformers.PreTrainedModel:
        return tiny.TRANSFORMERS["resnet"]()[0]

    model().save_pretrained(folder / "network")
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder / "network")
    for name, file, content in (("damaged", "model.safetensors", "no"), ("no_config", "config.json", "{no")):
        shutil.copytree(folder / "network", folder / name)
        (folder / name / file).write_text(content)
    (folder / "empty").mkdir()
    texts = [{"text": f"word {index}", "label": "ab"[index % 2]} for index in range(40)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, texts)))
    loaded = hf_transfer_kit.load_data(_pictures(folder / "pictures"))
    data = hf_transfer_kit.prepare_data(loaded, processor)
    return {
        "MODEL": model,
        "MAKER": lambda: lambda seed: model(),
        "LOADED": lambda: loaded,
        "PROCESSOR": lambda: processor,
        "DATA": lambda: data,
        "TRAIN": lambda: data.train,
        "ARGS": lambda: transformers.TrainingArguments(str(folder / "out"), use_cpu=True, report_to=[]),
        "NETWORK": lambda: folder / "network",
        "DAMAGED": lambda: folder / "damaged",
        "NO_CONFIG": lambda: folder / "no_config",
        "EMPTY": lambda: folder / "empty",
    }


def _pictures(folder: Path) -> Path:
    from PIL import Image

    for name, shade in (("dark", 30), ("light", 200), ("grey", 120)):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (16, 16), (shade, number, shade)).save(folder / name / f"{number}.png")
    return folder


def cases():
    for word, given, wrong in CALLS:
        for name, values in wrong.items():
            yield pytest.param(word, given, name, values, id=f"{word}-{name}")


@pytest.mark.parametrize(("word", "given", "name", "values"), cases())
def test_what_cannot_be_is_refused_at_once(word, given, name, values, things, monkeypatch, tmp_path):
    def trained(*args, **kwargs):
        raise AssertionError("it went on to train")

    monkeypatch.setattr(transformers.Trainer, "train", trained)
    called = hf_transfer_kit
    for part in word.split("."):
        called = getattr(called, part)
    parameters = list(inspect.signature(called).parameters.values())
    for value in values:
        positional = [things[entry]() if isinstance(entry, str) and entry in things else entry for entry in given]
        named = {p.name: entry for p, entry in zip(parameters, positional, strict=False)}
        named[name] = things[value]() if isinstance(value, str) and value in things else value
        if "cache_dir" in {p.name for p in parameters}:
            named["cache_dir"] = tmp_path
        if word == "register_head":
            named.pop("model_class")
            arguments = [value, "classifier"]
        else:
            arguments = []
        if word in ("register_architecture",):
            named["groups"] = ["a"]
        if word == "class_embeddings":
            named["towers"] = None
        if word == "load_tower_classifier":
            named.setdefault("id2label", {0: "a"})
        with pytest.raises(TransferKitError) as refused:
            called(*arguments, **named)
        assert str(refused.value).strip(), (word, name, value)


def test_a_call_of_the_wrong_signature_is_a_type_error():
    for word in ("L2SP", "load_model", "linear_probe", "cache_features", "DomainPairs"):
        with pytest.raises(TypeError):
            getattr(hf_transfer_kit, word)(no_such_argument=3)


def test_numbers_of_numpy_and_lists_of_every_kind_are_taken():
    assert hf_transfer_kit.L2SP(alpha=np.float32(0.5)).alpha == 0.5
    assert hf_transfer_kit.BSS(k=2, alpha=np.float64(1)).k == 2
    assert hf_transfer_kit.WeightInterpolation((0.0, 1)).alphas
    rows = Dataset.from_dict({"x": [1.0, 2.0], "labels": [0, 1]})
    assert len(hf_transfer_kit.DomainPairs(rows, rows, seed=3)) == 2
    table = hf_transfer_kit.AttributeTable.of({"a": np.array([1, 0]), "b": (0, 1)})
    assert table.values.tolist() == [[1, 0], [0, 1]]
