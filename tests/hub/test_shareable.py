"""What may leave the machine: files by their kind, texts without secrets and places, results with figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hub.sharing_cases import classified
from reports.adaptation_case import adaptation, report_of, without_labels

from hf_transfer_kit import push_transfer_model
from hf_transfer_kit.errors import HubError, SettingsError
from hf_transfer_kit.hub.shareable import check_figures, check_texts, checked_report, local_place, shareable_files
from hf_transfer_kit.reports import write_report

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def folder(tmp_path):
    """Results, and what lies beside them after training."""
    folder = tmp_path / "run"
    for path in (
        "config.json", "model-00001-of-00002.safetensors", "README.md", "tokenizer.model", "chat_template.jinja",
        "adapter/adapter_model.safetensors", "processors/grey/preprocessor_config.json", "pictures/curve.png",
        "pytorch_model.bin", "training_args.bin", "optimizer.pt", "weights.pth", "scores.pkl", "code.py",
        "checkpoint-10/model.safetensors", "checkpoint-10/optimizer.pt", "runs/1/events.out", "cache/features.safetensors",
        "digits_network/model.safetensors", ".unfinished-1/report.json", ".cache/huggingface/x.json", "adapter/.hidden.json",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"{}")
    write_report(folder, classified("text", 2))
    return folder


def test_pickle_checkpoints_and_caches_stay_at_home(folder):
    assert [path.as_posix() for path in shareable_files(folder)] == [
        "README.md",
        "adapter/adapter_model.safetensors",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "pictures/curve.png",
        "processors/grey/preprocessor_config.json",
        "report.html",
        "report.json",
        "tokenizer.model",
    ]
    check_texts(folder, shareable_files(folder))


@pytest.mark.parametrize("text", [TOKEN, f"--hub_token={TOKEN}", "sesame-open"])
def test_a_token_is_refused_and_not_repeated(folder, text):
    (folder / "README.md").write_text(f"first line\nrun with {text} here\n")
    with pytest.raises(HubError, match=r"^README.md holds an access token") as refused:
        check_texts(folder, shareable_files(folder), token="sesame-open")
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "--dataset /home/alice/birds",
        '{"path": "/Users/alice/net"}',
        r"C:\Users\alice\net",
        r'"C:\\Users\\alice"',
        "see /data/alice.csv",
        f"python {Path(__file__)}",
        f"in {Path.home()}/x",
        f"in {Path(__file__).parents[2]}",
    ],
)
def test_a_place_on_this_machine_is_refused(folder, line):
    (folder / "adapter" / "adapter_config.json").write_text(f"{{\n{line}\n}}")
    with pytest.raises(HubError, match=r"^adapter/adapter_config.json, line 2, names a place on this machine"):
        check_texts(folder, shareable_files(folder))


@pytest.mark.parametrize(
    "line",
    [
        "https://huggingface.co/home/alice/x and http://www.w3.org/2000/svg",
        "image/png;base64,/9j/4AAQ/home and +/home/xyz",
        '{"0": "/m/09x0r", "1": "and/or", "2": "</home/x>"}',
        "python scripts/transfer.py --dataset data/birds --config ../home/x.yaml",
        "10 / 20 / 30",
    ],
)
def test_what_only_looks_like_a_place_is_not(line):
    assert local_place(line) is None


def test_words_of_a_vocabulary_are_no_places_but_tokens_are_tokens_there(folder):
    (folder / "tokenizer.json").write_text('{"vocab": {"/home/alice": 1}}')
    check_texts(folder, shareable_files(folder))
    (folder / "tokenizer.json").write_text(f'{{"vocab": {{"{TOKEN}": 1}}}}')
    with pytest.raises(HubError, match="token"):
        check_texts(folder, shareable_files(folder))


def test_a_report_that_is_not_whole_is_refused(folder):
    assert checked_report(folder).title == "base on birds"
    path = folder / "report.json"
    values = json.loads(path.read_text())
    del values["metrics"]
    path.write_text(json.dumps(values))
    with pytest.raises(HubError, match="cannot be read as a report"):
        checked_report(folder)
    path.write_text(path.read_text()[:100])
    with pytest.raises(HubError, match="cannot be read as a report"):
        checked_report(folder)
    path.unlink()
    with pytest.raises(HubError, match=r"holds no report\.json"):
        push_transfer_model(folder, "me/net")


@pytest.mark.parametrize(
    ("metrics", "words"),
    [({}, "gave no figures"), ({"accuracy": float("nan")}, "no finite accuracy"), ({"accuracy": None}, "accuracy")],
)
def test_a_failed_evaluation_is_refused(folder, metrics, words):
    write_report(folder, classified("text", 2, metrics=metrics))
    with pytest.raises(HubError, match=words):
        push_transfer_model(folder, "me/net")


def test_a_target_without_labels_stands_on_the_sources_figures():
    unlabelled = without_labels(adaptation())
    check_figures(report_of(unlabelled))
    lost = tuple(replace(result, source_accuracy=float("nan")) for result in unlabelled.results)
    with pytest.raises(HubError, match="no finite source_only: source_accuracy"):
        check_figures(report_of(replace(unlabelled, results=lost)))


def test_weights_as_pickle_are_no_model(folder):
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(HubError, match=r"holds no \.safetensors file"):
        push_transfer_model(folder, "me/net")


def test_report_and_model_come_together(folder):
    with pytest.raises(SettingsError, match="a folder has its own"):
        push_transfer_model(folder, "me/net", report=classified("text", 2))
