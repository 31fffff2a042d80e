"""``scripts/benchmarks/gpu_check.py``: what it finds by itself, what it marks, and that it runs; where CUDA is, its parts."""

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import processes
import pytest
import torch
from transformers import TrainerCallback

import hf_transfer_kit

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import gpu_check
from on_gpu import parts, precision
from on_gpu.bench import FAILED, SLOWER, UNMEASURED, WRONG, Bench
from on_gpu.isolated import Broken, Isolated
from on_gpu.sections import SECTIONS, Section
from on_gpu.tables import markdown

NAMES = list(parts.cases())
WITHOUT_FIGURES = {"KeepReport", "NoPickleUploads", "ProgressLine"}
SLICE = ("tuning/L2SP, decoupled", "adaptation/mmd", "source_free/shot", "multitask/gradnorm", "heads/regression")


@pytest.fixture
def bench(tmp_path):
    return Bench("cpu", True, tmp_path)


class TestParts:
    def test_every_callback_of_the_rooms_has_a_case_or_computes_nothing(self):
        rooms = [room.name for room in Path(hf_transfer_kit.__path__[0]).iterdir() if (room / "__init__.py").exists()]
        found = {name for room in rooms for name in parts.callback_classes(room)}
        with_a_case = {name.partition("/")[2] for name in NAMES}
        assert found - with_a_case == WITHOUT_FIGURES
        assert len(NAMES) > 70

    @pytest.mark.parametrize("name", NAMES)
    def test_a_case_can_be_made_and_judged(self, name, bench):
        try:
            made = parts.cases()[name](bench)
        except Exception as error:
            if "lacks packages" in str(error):
                pytest.skip(str(error))
            raise
        assert made.collator([made.rows[0]] * made.batch)
        assert parts.plain_case(name) in NAMES

    def test_a_callback_that_is_new_is_tried_without_arguments(self, bench, monkeypatch):
        from hf_transfer_kit import tuning

        class Fresh(TrainerCallback):
            pass

        class Needy(TrainerCallback):
            def __init__(self, source):
                self.source = source

        monkeypatch.setattr(tuning, "Fresh", Fresh, raising=False)
        monkeypatch.setattr(tuning, "Needy", Needy, raising=False)
        monkeypatch.setattr(tuning, "__all__", [*tuning.__all__, "Fresh", "Needy"])
        assert isinstance(parts.cases()["tuning/Fresh"](bench).callbacks[-1], Fresh)
        (record,) = precision.several(["tuning/Needy"], bench)
        assert record["mark"] == FAILED
        assert "missing 1 required positional argument: 'source'" in record["why"]


class Scaled(TrainerCallback):
    """Turns the gradients of half precision by what it adds to them."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if args.fp16:
            for parameter in model.parameters():
                parameter.grad.add_(torch.ones_like(parameter), alpha=float(parameter.grad.norm()))


class Pulling(TrainerCallback):
    """Moves weights at every step, taken or not."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        with torch.no_grad():
            next(model.parameters()).mul_(0.999)


class TestPrecision:
    @pytest.mark.parametrize("name", SLICE)
    def test_a_part_is_right_in_float16_with_a_scaler(self, name, bench):
        (record,) = precision.several([name], bench)
        assert precision.judged(record, None)["why"] == ""
        assert record["overflow skipped"] == "yes"
        assert record["cosine fp16"] > 0.99

    @pytest.mark.parametrize(("part", "words"), [(Scaled, "gradient in fp16: cosine"), (Pulling, "overflow: 1 of")])
    def test_a_part_that_is_wrong_is_found(self, part, words, bench, monkeypatch):
        wrong = {"tuning/wrong": lambda bench: parts.tuned(bench, lambda source, rows: part())}
        monkeypatch.setattr(precision, "cases", lambda: wrong)
        (record,) = precision.several(["tuning/wrong"], bench)
        judged = precision.judged(record, None)
        assert judged["mark"] == WRONG
        assert words in judged["why"]

    @pytest.mark.parametrize(("changes", "plain", "words"), [
        ({}, None, ""),
        ({"cosine bf16": 0.95}, None, "gradient in bf16: cosine 0.9500, not 0.9600 or more"),
        ({"cosine bf16": 0.95}, {"cosine bf16": 0.975}, ""),  # twice the error of the training itself
        ({"cosine fused": 0.99}, None, "gradient in fused"),
        ({"cosine fp16": float("nan")}, None, "gradient in fp16: cosine nan"),
        ({"loss bf16": 1.3}, None, "loss in bf16: 1.3, in float32 1"),
        ({"loss fp16": float("nan")}, None, "loss in fp16: nan"),
        ({"overflow skipped": "no overflow was found"}, None, "overflow: no overflow was found"),
        ({"not finite": "fp16"}, None, "not finite at the end in fp16"),
    ])  # fmt: skip
    def test_what_is_marked(self, changes, plain, words):
        right = {"what": "x", "loss float32": 1.0, "overflow skipped": "yes"}
        right |= {f"cosine {mode}": 1.0 for mode in precision.COSINES} | {
            f"loss {mode}": 1.05 for mode in precision.COSINES
        }
        found = precision.judged({**right, **changes}, None if plain is None else {**right, **plain})
        assert found["mark"] == (WRONG if words else "")
        assert found["why"].startswith(words)

    def test_a_case_is_not_judged_by_itself(self):
        alone = {"what": "x", "loss float32": 1.0, "cosine bf16": 0.5, "loss bf16": 1.0}
        assert precision.judged(alone, alone)["mark"] == WRONG


def _counting():
    yield 1
    yield 2


def _failing():
    yield 1
    raise ValueError("the reason")


def _ending():
    yield 1
    os._exit(3)


def _hanging():
    yield 1
    time.sleep(600)


class TestIsolated:
    @pytest.mark.parametrize(("work", "words"), [
        (_failing, "ValueError: the reason (test_gpu_check.py:"),
        (_ending, "the process ended (exit code 3)"),
        (_hanging, "no time left, 1 s after it was asked"),
    ])  # fmt: skip
    def test_what_ends_early_says_why(self, work, words):
        process = Isolated("fork", work)
        assert process.next(20) == 1
        with pytest.raises(Broken) as error:
            process.next(1 if work is _hanging else 20)
        process.close()
        assert words in str(error.value)

    def test_items_come_as_they_are_asked_for_and_then_none(self):
        process = Isolated("fork", _counting)
        process.ask()
        assert [process.answer(20), process.next(20), process.next(20)] == [1, 2, None]
        process.close()


def _fake(letter, **measures):
    module = ModuleType(f"on_gpu.fake_{letter}")
    module.measure = measures["measure"]
    return module


def test_a_section_that_fails_is_written_down_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(bench, until):
        yield {"what": "first", "ratio": 1.2, "mark": SLOWER}
        raise RuntimeError("out of luck")

    def right(bench, until):
        yield {"what": "a|b", "ratio": 1 / 3}
        yield {"what": "late", "mark": UNMEASURED, "why": "no time left"}

    for letter, measure in (("a", broken), ("b", right)):
        monkeypatch.setitem(sys.modules, f"on_gpu.fake_{letter}", _fake(letter, measure=measure))
        monkeypatch.setitem(SECTIONS, letter, Section(f"fake_{letter}", f"title {letter}", 30))
    monkeypatch.setitem(SECTIONS, "c", Section("fake_c", "title c", 30))  # there is no such module
    arguments = ["gpu_check.py", "--reduced", "--sections", "a", "b", "c", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 1
    result = json.loads((tmp_path / "gpu_check.json").read_text())
    assert "RuntimeError: out of luck" in result["sections"]["a"]["error"]
    assert [len(result["sections"][letter]["records"]) for letter in "abc"] == [1, 2, 0]
    assert result["sections"]["b"]["error"] is None
    lines = (tmp_path / "gpu_check.md").read_text().splitlines()
    assert "| (a) | first | ratio 1.2 | slower |" in lines
    assert "| (b) | a\\|b | ratio 0.3333 |  |" in lines
    assert "| (b) | late |  | not measured: no time left |" in lines
    assert any(line.startswith("| (c) | title c |  | failed: ModuleNotFoundError") for line in lines)
    monkeypatch.setattr(sys, "argv", [*arguments[:3], "b", *arguments[-2:]])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 0


def test_the_table_tells_what_it_was_measured_with():
    result = {"device": "X", "cores": 16, "versions": {"torch": "2"}, "reduced": True, "seconds": 3.2, "sections": {}}
    assert markdown(result).splitlines()[0] == (
        "X, 16 cores; torch 2; 3 s. Reduced: the figures say only that it runs."
    )


def test_all_sections_end_within_eight_minutes():
    assert sum(section.seconds for section in SECTIONS.values()) <= 460


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 2
    assert (
        "torch finds no CUDA device here; on a CPU only the reduced form runs: add --reduced."
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_reduced_form_runs_every_section(tmp_path):
    done = processes.run([gpu_check.__file__, "--reduced", "--output_dir", tmp_path], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "gpu_check.json").read_text())
    assert list(result["sections"]) == list("abcdef")
    assert {record["what"] for record in result["sections"]["a"]["records"]} == set(NAMES)
    records = [record for section in result["sections"].values() for record in section["records"]]
    assert all(section["records"] for section in result["sections"].values())
    assert all("lacks packages" in record["why"] for record in records if record.get("mark") == UNMEASURED)


@pytest.fixture(scope="module")
def on_a_gpu(tmp_path_factory):
    """Name -> record of the small training on the GPU in every mode, each trained once."""
    records, bench = {}, Bench("cuda", True, tmp_path_factory.mktemp("gpu"))

    def record(name):
        if name not in records:
            records[name] = precision.compared(name, bench, precision.ALL_MODES)
        return records[name]

    return record


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_right_in_half_precision_on_a_gpu(name, on_a_gpu):
    try:
        found = precision.judged(on_a_gpu(name), on_a_gpu(parts.plain_case(name)))
    except Exception as error:
        if "lacks packages" in str(error):
            pytest.skip(str(error))
        raise
    assert found["mark"] == "", found["why"]
