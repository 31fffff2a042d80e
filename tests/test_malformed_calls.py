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
FLAT = [{"pixel_values": torch.zeros(3, 32)}] * 3
# What is no dataset of rows, or holds rows that no collator or no network takes.
NO_ROWS: list[Any] = [
    "nope", b"abc", None, 3, {1, 2}, [1, 2, 3], ["a", "b"], [None, None], FEATURES, {"pixel_values": torch.zeros(2, 3)},
    [{"text": "a"}] * 3, [{"pixel_values": torch.zeros(3, 32, 32)}, {"pixel_values": torch.zeros(3, 31, 32)}],
]  # fmt: skip

# Word -> what a call of it needs; then argument -> values that it must refuse.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, list[Any]]]] = [
    ("AdversarialSchedule", (), {"schedule": ["dan", 3, ["a"]], "highest": [NAN, INF, -1.0, "x", True], "gamma": [0, "x", NAN]}),
    ("AttributeTable.of", (), {"source": [{0: 0}, {"a": None}, {"a": "xy"}, {"a": [1], "b": {"x": 1}}, {}, 3, None, [], "nowhere.csv", {"a": [10**400]}, {"a": [NAN]}, {"a": [0]}], }),
    ("AttributeTable.of", ({"a": [1], "b": [2]},), {"missing": ["men"], "unknown": ["x"]}),
    ("BSS", (), {"alpha": [NAN, -1, "x", True], "k": [0, 1.5, "x"]}),
    ("ClassBalance", (), {"weights": ["balancd", 3, {}, ["a"], {"a": NAN}, {"a": 0}], "sampler": ["balancd", 3], "metric": ["acuracy"], "margin": [-1, NAN, "x"]}),
    ("CoTuning", (), {"alpha": [NAN, -1, "x"], "source": [3]}),
    ("DELTA", (), {"alpha": [NAN, -1, "x"], "beta": [INF], "attention": ["los"], "attention_rows": [1, "x"], "layers": [1.5, NAN, True]}),
    ("DomainAdversarialConfig", (), {"backbone_config": [3, "nope", {}, [None], {"model_type": "nope"}], "method": ["dan", ["a"]], "batch_norm": ["jont"], "method_options": [3, "nope"], "num_labels": [-1, HUGE, "x"], "methd": ["dann"]}),
    ("DomainCollator", (), {"collator": [3, None]}),
    ("DomainPairs", (ROWS, ROWS), {"source": [[], 3], "target": [[], None], "seed": [-1, 1.5, HUGE], "target_columns": [3]}),
    ("FreezeLayers", (), {"first": ["x", 1.5], "fraction": [NAN, "x"], "batch_norm": ["freez"], "dropout": ["of"]}),
    ("FreezeSchedule", (), {"stages": [3, [], {}, "nowhere.yaml", [{"train": "head", "untl": 1}], [{3: 4}], [{"train": 1.5}], [{"train": "all", "rates": {"body": NAN}}], [{"train": "head", "until": NAN}, {"train": "all"}], [{"train": "all", "early_stopping": {"metric": "a", "patience": 1, "min_delta": "x"}}]]}),
    ("FreezeSchedule", ([{"train": "all"}],), {"quiet": ["maybe"], "dropout": ["of"]}),
    ("GradualUnfreezing", (), {"every": ["soon", NAN, 0], "order": ["topdown"], "groups_per_stage": [0, "x"], "keep_frozen": [-1, True]}),
    ("L2SP", (), {"alpha": [NAN, -1, "x"], "norm": ["l3"], "groups": [3, [None], [1, 1]]}),
    ("L2SPFisher", (), {"dataset": ["nope", 3, {"train": ROWS}], "alpha": [NAN], "labels": ["empircal"], "num_samples": ["x"], "batch_size": ["x"], "fisher": [3]}),
    ("LwF", (), {"alpha": [NAN, -1], "temperature": [0, NAN, "x"], "source": [3], "own_head": ["maybe"]}),
    ("MultiTaskConfig", (), {"tasks": [3, "nope", [None], {"a": None}, {"a": {}}, {"a": {"type": "clasification"}}, {"a": {"type": "classification", "num_labels": HUGE}}, {"a": {"type": "classification", "num_label": 3}}], "inputs": [3, "nope", [None]], "shared_from": [-1, "x"], "batch_norm": ["per_inpt"]}),
    ("MultiTaskDataset", (), {"sources": [{}, 3, {"a": 3}]}),
    ("PseudoLabels", (ROWS, default_data_collator), {"every": [0, "x"], "batch_size": [0, "x"], "max_rows": [1, "x"]}),
    ("ReestimateBatchNorm", (ROWS, default_data_collator), {"batch_size": [0, -1, "x"], "max_rows": [0, "x"], "target": [3]}),
    ("RestoreWeights", (), {"checkpoint": [3, ["a"]]}),
    ("EMA", (), {"decay": [1.0, -0.1, NAN, "x"], "batch_size": [0, 1, "x"], "max_rows": [0, 1, "x"]}),
    ("SWA", (), {"start": [1.0, -0.1, NAN, "x"], "every": [0, "x"], "max_rows": [0, "x"]}),
    ("GradientRates", (), {"memory": [0, NAN, "x"]}),
    ("SurgicalTuning", (), {"head_fraction": [0, 1, NAN, "x", 0.97], "measure": [0, 1, "x"], "blocks": [0, "x", True], "batch_norm": ["frozen"]}),
    ("RoundWeights", (), {"dtype": ["float23", 3]}),
    ("SWAD", (), {"start_patience": [0, "x"], "end_patience": [0], "tolerance": [-1, NAN], "metric": [3]}),
    ("SeveralSources", (), {"sources": [{}, 3, {"a": []}, {"a": 3}, {"a": "xyz"}]}),
    ("SeveralSourcesConfig", (), {"backbone_config": [3, {}], "method": ["jont"], "sources": [3], "method_options": [3, "nope"]}),
    ("SourceRows", (), {"rows": [3, "nope", None]}),
    ("TargetRows", (), {"rows": [3, "nope", None]}),
    ("WeightInterpolation", (), {"alphas": [[], [2.0], [NAN], 3, [None]], "metric": ["acc"], "batch_size": [0, "x", HUGE], "eval_dataset": ["nope", 3, [], {"test": ROWS}]}),
    ("GuardCheckpoints", (), {"facts": [3, {"a": {1, 2}}, {"a": torch.ones(2)}]}),
    ("last_whole_checkpoint", (), {"output_dir": [3, None]}),
    ("last_whole_checkpoint", ("nowhere",), {"facts": [3], "tell": ["yes"]}),
    ("write_report", ("nowhere",), {"report": [3, None]}),
    ("TransferCard.from_report", (), {"report": [3, None]}),
    ("KeepReport", (), {"report": [3, None]}),
    ("push_transfer_model", ("nowhere", "me/x"), {"folder_or_model": [3, None], "retries": ["x", HUGE]}),
    ("DomainAdversarialModel", (), {"config": [3, transformers.BertConfig()]}),
    ("ZeroShotConfig", (), {"method": ["eszs", ["a"]], "gamma": [NAN, "x"], "classes": [3, "nope", {"a": None}], "method_options": [3, "nope"]}),
    ("cache_boundaries", ("MODEL", {"train": ROWS}), {"model": [3, None], "dtype": ["float7"], "batch_size": [0, "x", HUGE], "cache_budget": ["4XB", NAN], "datasets": [{}, 3, ROWS, *({"train": rows} for rows in NO_ROWS)]}),
    ("cache_features", ("MODEL", ROWS), {"model": [3, None], "layer": ["nope", 99, 1.5], "pooling": ["mea"], "dtype": ["float7"], "batch_size": [0, "x", HUGE], "dataset": [{"train": ROWS}, *NO_ROWS, FLAT], "collator": ["default", lambda rows: None, list], "keep_columns": [3, "labels"]}),
    ("cache_prefix", ("MODEL", 1, ROWS), {"model": [3, None], "k": [99, -1, "x", 1.5], "dtype": ["float7"], "batch_size": [0, "x"], "cache_budget": ["4XB", NAN], "views": [0, "x", HUGE, 10**15, {"tran": 2}], "dataset": [{}, {"train": "nope"}, {"train": ROWS, "test": 3}, *NO_ROWS, FLAT], "collator": ["default", lambda rows: None]}),
    ("class_embeddings", (), {"names": [3, "cat"]}),
    ("classification_metrics", (["a", "b"],), {"label_names": [3], "top_k": [0, "x"]}),
    ("compare_strategies", ("MAKER", "DATA", ["full"], "ARGS", Budget(2, 4)), {"data": [None, 3, "digits"], "args": [None, 3], "budget": [None, 3], "strategies": [["ful"], [], 3, ["full", "full"]], "seeds": [[], [0, 0], 3, ["x"]], "reduction_factor": [1, 0, "x"]}),
    ("domain_distance", (FEATURES, FEATURES), {"source": ["a", [["a"]] * 5], "kind": ["mmm", [], 3], "permutations": [-1, "x"], "max_rows": [0, "x"], "seed": ["x"]}),
    ("extend_head", ("MODEL", ["x"]), {"new_classes": [[], 0, -1, ["a", "a"], 1.5, HUGE, 2**40, [""], [3]], "model": [3, None]}),
    ("find_learning_rate", (lambda: None,), {"make_trainer": [3, lambda: None, lambda: 3], "start": [0.0, NAN, "x"], "end": [NAN, "x"], "steps": [0, "x", HUGE], "smoothing": [NAN, 2.0]}),
    ("layer_groups", (), {"model": [3, None, "nope"]}),
    ("layerwise_optimizer", ("MODEL", "ARGS"), {"args": [None, 3], "decay": [0.0, 2.0, NAN, "x"], "head": [NAN, "x", -1.0]}),
    ("linear_probe", (FEATURES, LABELS), {"features": [3, "nope", [["a"]] * 20, FEATURES * 1j, FEATURES[:0]], "validation": [3, (FEATURES, LABELS, LABELS)], "kind": ["logistc"], "strengths": [[], [0.0], [NAN], 3], "seed": ["x"]}),
    ("load_data", ("digits",), {"name_or_path": ["", "digis", "/no/such/place", 3, "a" * 6000, "a\0b", "/"], "revision": ["main"], "config_name": ["x"], "validation_size": [1.0, 2.5, 0.0, NAN, "x", -1], "test_size": [1.0, INF], "seed": [-1, HUGE, "x"], "task_type": ["clasification"], "keep_rows": ["x", {"label": "x"}, {"label": 3}], "label_column": ["lable", 3], "input_column": ["imag"], "train_size": [0, NAN, INF, "x", True, 10**9]}),
    ("load_model", ("NETWORK",), {"name_or_path": ["/no/such/place", "EMPTY", "DAMAGED", "NO_CONFIG", 3, "a" * 6000, "a\0b"], "id2label": [{}, {0: "a", 1: "a"}, {1: "a"}, {"x": "a"}, 3, ["a"]], "num_labels": [0, -1, HUGE, "x", 1.5], "dtype": ["float23"], "revision": ["main"], "seed": ["x"], "modality": ["imag"]}),
    ("load_processor", ("NETWORK",), {"modality": ["imag", 3]}),
    ("load_tower_classifier", ("NETWORK",), {"id2label": [{}, {0: "a"}, 3]}),
    ("load_transferred", ("NETWORK",), {"name_or_path": ["/no/such/place", "EMPTY", "NETWORK", 3], "dtype": ["float7", 3], "device": ["gpu"], "classes": [3], "revision": [3, "main"]}),
    ("make_strategy", (), {"specification": ["ful", "", ":", "freeze_first:k=]", "lora:r=abc", 3, None, "full:x=1"]}),
    ("memory_limit", (), {"limit": ["much", "4XB", -1, NAN, None, []]}),
    ("prepare_data", ("LOADED", "PROCESSOR"), {"data": [None, 3, "digits"], "augment": ["noflip", 3], "image_size": [0, 1, -1, "x", 10**6, 1.5], "max_length": [0, -1, "x"], "max_seconds": [0.0, NAN, INF, "x"], "channels": [2, "x"]}),
    ("rank_sources", (["dann_mnist"], "LOADED"), {"checkpoints": [[], ["a", "a"], 3], "by": ["hscor", 3], "max_rows": [0, "x"], "scores": [3, ["hscor"]]}),
    ("recommend", ("MODEL", "DATA"), {"unlabelled_rows": ["x"], "batch_size": ["x"], "seed": ["x"]}),
    ("register_architecture", (), {"model_class": [3, None]}),
    ("register_head", (), {"model_class": [3, int]}),
    ("reestimate_batch_norm", ("MODEL", ROWS, default_data_collator), {"batch_size": [0, "x"], "max_rows": [0, "x"], "target": [[]]}),
    ("reinitialize", ("MODEL",), {"last": [0, 99, "x", 1.5], "model": [3]}),
    ("replace_head", ("MODEL",), {"num_labels": [0, -1, HUGE, "x", 1.5], "id2label": [{}, {0: "a", 1: "a"}, {1: "a"}, 3], "init": ["zero"], "model": [3]}),
    ("replayed_rows", ("TRAIN", "TRAIN"), {"per_class": [0, "x"], "seed": ["x"]}),
    ("search_freeze_depth", ("MAKER", "DATA", "ARGS", Budget(2, 4)), {"data": [None, 3, "digits"], "direction": ["frist"], "share": [0.0, NAN, 2.0, "x"], "seeds": [[], [0, 0], 3], "depths": [[], [-1], [99], 3], "reduction_factor": [1, "x"], "dtype": ["float7"]}),
    ("solve_head", ("MODEL", ROWS), {"model": [3, None], "dataset": [*NO_ROWS, FLAT], "collator": ["default", lambda rows: None], "validation": ["nope", 3], "task_type": ["clasification", "ctc"], "class_weights": [["a"], [1.0]], "batch_size": [0, "x"], "max_rows": [1, "x"], "seed": ["x"]}),
    ("transferability", ("MODEL",), {"dataset": NO_ROWS}),
    ("transferability", (FEATURES, LABELS), {"scores": [["hscor"], 3, []], "draws": ["x", HUGE], "seed": ["x", HUGE], "source_probabilities": ["nope", [["a"]] * 20]}),
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


NUMBERS = [
    ("L2SP", "alpha"), ("BSS", "alpha"), ("LwF", "temperature"), ("FreezeLayers", "fraction"), ("SWAD", "tolerance"),
    ("GradualUnfreezing", "every"), ("AdversarialSchedule", "gamma"), ("ZeroShotConfig", "gamma"), ("DELTA", "alpha"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "name"), NUMBERS)
def test_a_number_that_no_float_holds_is_refused(word, name):
    with pytest.raises(TransferKitError, match=name):
        getattr(hf_transfer_kit, word)(**{name: 10**400})


@pytest.mark.parametrize("span", [10**400, NAN])
def test_a_schedule_refuses_what_no_float_holds(span):
    for stages in (
        [{"train": "head", "until": span}, {"train": "all"}],
        [{"train": "all", "rates": {"body": span}}],
    ):
        with pytest.raises(TransferKitError):
            hf_transfer_kit.FreezeSchedule(stages)


def test_rows_of_domains_that_are_no_mappings_are_told():
    with pytest.raises(TransferKitError, match="not its inputs by name"):
        hf_transfer_kit.DomainPairs(["a"], ["b"])[0]
    collate = hf_transfer_kit.DomainCollator(default_data_collator)
    with pytest.raises(TransferKitError, match="not what the collator takes"):
        collate([*map(hf_transfer_kit.SourceRows([3, 4]).__getitem__, range(2))])


def test_rows_that_do_not_fit_the_network_are_told_before_training():
    wrong = [{"pixel_values": torch.zeros(3, 32), "labels": 1}] * 3
    beyond = [{"pixel_values": torch.zeros(3, 32, 32), "labels": 99}] * 3
    for rows in (wrong, beyond):
        for part in (hf_transfer_kit.L2SPFisher(dataset=rows), hf_transfer_kit.WeightInterpolation(eval_dataset=rows)):
            model = tiny.TRANSFORMERS["resnet"]()[0]
            args = transformers.TrainingArguments("out", use_cpu=True, report_to=[], max_steps=1)
            with pytest.raises(TransferKitError, match="does not take the batch"):
                transformers.Trainer(model, args, train_dataset=ROWS, callbacks=[part]).train()
    model = tiny.TRANSFORMERS["resnet"]()[0]
    with pytest.raises(TransferKitError, match="does not take the batch"):
        hf_transfer_kit.reestimate_batch_norm(model, FLAT, default_data_collator)


def test_a_table_without_a_name_for_a_class_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1")
    with pytest.raises(TransferKitError, match="Row 0 of the table has no class"):
        hf_transfer_kit.AttributeTable.of(tmp_path / "table.csv")
    with pytest.raises(TransferKitError, match="no name"):
        hf_transfer_kit.AttributeTable.of({"": [1], "b": [2]})
    table = hf_transfer_kit.AttributeTable.of({"a": [1], "b": [2]})
    for wrong in (lambda: table.rows("a"), lambda: table.rows(3), lambda: table.joined(3), lambda: table.from_dict({})):
        with pytest.raises(TransferKitError):
            wrong()


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
