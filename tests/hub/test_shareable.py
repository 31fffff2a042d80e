"""What may leave the machine: files by their kind, texts without secrets and places, results with figures."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hub.sharing_cases import classified
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from reports.adaptation_case import adaptation, report_of, without_labels
from safetensors.torch import save_file

from hf_transfer_kit import push_transfer_model
from hf_transfer_kit.errors import HubError, SettingsError
from hf_transfer_kit.hub.manifest import described, write_manifest, written_files
from hf_transfer_kit.hub.secrets import KINDS, secret_in
from hf_transfer_kit.hub.shareable import (
    check_figures,
    check_texts,
    checked_report,
    local_place,
    shareable_files,
    shared_content,
)
from hf_transfer_kit.reports import write_report

TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyz"
WRITTEN = [
    "README.md", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "chat_template.jinja", "config.json",
    "model-00001-of-00002.safetensors", "pictures/curve.png", "processors/grey/preprocessor_config.json", "report.html",
    "report.json", "tokenizer.json", "tokenizer.model",
]  # fmt: skip
_HEX, _LETTERS = "0123456789abcdef", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9n"
# In two parts each, so that no scanner minds.
TOKENS = {
    "an access token of Hugging Face": [TOKEN, "api_org_" + _LETTERS[:34]],
    "an access key of AWS": ["AKIA" + "ABCDEFGHIJKLMNOP", "aws_secret_access_key = " + _LETTERS],
    "an access token of GitHub": ["ghp_" + _LETTERS[:36], "github_pat_" + _LETTERS],
    "an access token of GitLab": ["glpat-" + _LETTERS[:20]],
    "an API key as OpenAI's": ["sk-" + _LETTERS, "sk-proj-" + _LETTERS],
    "an access token of Slack": ["xoxb-" + "1234567890-abc", "hooks.slack.com/services/" + "T01/B02/abc"],
    "an API key of Google": ["AIza" + _LETTERS[:35], "GOCSPX-" + _LETTERS[:24]],
    "a private key": ["-----BEGIN " + "RSA PRIVATE KEY-----", "-----BEGIN " + "PRIVATE KEY-----"],
    "an API key of Weights & Biases": ["wandb_api_key: " + _HEX * 2 + _HEX[:8], "WANDB_API_KEY=" + _HEX * 2 + _HEX[:8]],
    "an API key of Stripe": ["sk_live_" + _LETTERS[:24]],
    "an access token of PyPI or npm": ["npm_" + _LETTERS[:36], "pypi-AgE" + _LETTERS * 2],
    "an account key of Azure": ["AccountKey=" + _LETTERS * 2],
    "a signed web token": ["eyJ" + "hbGciOiJIUzI1.eyJ" + "zdWIiOiIxMjM0.abcdefghijkl"],
    "a password in an address": ["postgres://me:" + "sesame@db.example.org"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results, and what lies beside them after training."""
    folder = tmp_path_factory.mktemp("results")
    for path in (
        "config.json", "tokenizer.json", "adapter/adapter_config.json", "customers.csv", "secrets.yaml", "wandb.json", "notes.txt", "model-00001-of-00002.safetensors", "README.md", "tokenizer.model", "chat_template.jinja",
        "adapter/adapter_model.safetensors", "processors/grey/preprocessor_config.json", "pictures/curve.png",
        "pytorch_model.bin", "training_args.bin", "optimizer.pt", "weights.pth", "scores.pkl", "code.py",
        "checkpoint-10/model.safetensors", "checkpoint-10/optimizer.pt", "runs/1/events.out", "cache/features.safetensors",
        "digits_network/model.safetensors", ".unfinished-1/report.json", ".cache/huggingface/x.json", "adapter/.hidden.json",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"{}")
    write_report(folder, classified("text", 2))
    write_manifest(folder, {name: described(folder / name) for name in WRITTEN})
    return folder


@pytest.fixture
def folder(results, tmp_path):
    """A copy of them."""
    return Path(shutil.copytree(results, tmp_path / "run"))


def changed(folder, name, text):
    """A file of the manifest with other contents."""
    (folder / name).write_text(text)
    write_manifest(folder, {**written_files(folder), name: described(folder / name)})


def test_what_the_run_did_not_write_stays_at_home(folder):
    assert [path.as_posix() for path in shareable_files(folder)] == WRITTEN
    check_texts(folder, shareable_files(folder))


def test_no_manifest_no_push(folder):
    (folder / "hf_transfer_kit.json").unlink()
    with pytest.raises(HubError, match=r"holds no hf_transfer_kit\.json, which names what the run wrote"):
        push_transfer_model(folder, "me/net")


def test_a_manifest_cannot_lead_out_of_its_folder(folder, tmp_path):
    (tmp_path / "key").write_text("secret")
    outside = {name: {"size": 6, "sha256": "x"} for name in ("../key", str(tmp_path / "key"), "a/../../key", "..\\key")}
    write_manifest(folder, {**written_files(folder), **outside})
    assert [path.as_posix() for path in shareable_files(folder)] == WRITTEN


@pytest.mark.parametrize("link", ["README.md", "adapter"])
def test_no_link_is_followed(folder, tmp_path, link):
    (folder / link).rename(tmp_path / "elsewhere")
    (folder / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubError, match=rf"{link}\S* is a link, and what it leads to may be anything"):
        shareable_files(folder)


def test_other_weights_than_the_measured_ones_and_lost_files_are_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(HubError, match=r"^config\.json of .* is gone"):
        shareable_files(folder)
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("A card may be edited.")
    shareable_files(folder)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"[]")
    with pytest.raises(HubError, match=r"adapter_model\.safetensors is not the file that the run wrote"):
        shareable_files(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_the_common_services_are_found_in_texts_pictures_and_weights(folder, kind):
    for token in TOKENS[kind]:
        for name, write in (
            ("config.json", lambda path, token=token: path.write_text(f'{{"run by": "{token}"}}')),
            ("vocab.txt", lambda path, token=token: path.write_bytes(f"key {token}\n".encode("utf-16"))),
            ("pictures/curve.png", lambda path, token=token: picture(path, token)),
            ("processors/x.safetensors", lambda path, token=token: save_file({}, path, metadata={"by": token})),
        ):
            path = folder / name
            path.unlink(missing_ok=True)
            write(path)
            with pytest.raises(HubError, match=rf"^{name} holds {kind}, so nothing was pushed") as refused:
                check_texts(folder, [Path(name)])
            assert token not in str(refused.value)


def picture(path, token):
    """With a packed text behind its pixels."""
    told = PngInfo()
    told.add_text("Comment", f"made with {token}", zip=True)
    Image.new("L", (2, 2)).save(path, pnginfo=told)


@pytest.mark.parametrize(
    "text",
    [
        "task-learning-with-Very-Long-Names-2024 sk-learn-something-long-without-figures",
        "hf_transfer_kit hf_hub_download hf_" + "x" * 19,
        "fingerprint 0123456789abcdef0123456789abcdef01234567 report_to: wandb",
        "https://huggingface.co/me/net user@example.org http://host:8080/path@x",
        "AKIA and AIza and eyJ and ghp_short and -----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_only_looks_like_a_token_is_not(text):
    assert secret_in(text) is None


def test_settings_leave_without_paths_and_stay_usable_here(folder, tmp_path):
    settings = {
        "dataset": "/srv/alice/birds", "source": ["/srv/a b/x", "me/y"], "model_name_or_path": "me/net",
        "tasks": {"a": {"dataset": str(tmp_path), "label": "/m/09x"}}, "class_weights": "/m/09x=2", "unseen": ["/m/1"],
    }  # fmt: skip
    changed(folder, "config.yaml", yaml.safe_dump(settings))
    shared = yaml.safe_load(shared_content(folder / "config.yaml"))
    assert shared == {
        **settings, "dataset": "birds", "source": ["x", "me/y"], "tasks": {"a": {"dataset": tmp_path.name, "label": "/m/09x"}},
    }  # fmt: skip
    check_texts(folder, shareable_files(folder))
    assert yaml.safe_load((folder / "config.yaml").read_text()) == settings
    changed(folder, "config.yaml", f"report_to: {tmp_path}/x")  # where no setting names files
    with pytest.raises(HubError, match=r"config\.yaml, line 1, names a place"):
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
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(HubError, match=r"holds no \.safetensors file"):
        push_transfer_model(folder, "me/net")


def test_report_and_model_come_together(folder):
    with pytest.raises(SettingsError, match="a folder has its own"):
        push_transfer_model(folder, "me/net", report=classified("text", 2))
