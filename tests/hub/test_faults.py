"""What goes wrong on the way to the Hub ends in success, or in one sentence with the results intact."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub.sharing_cases import bert
from hub_server import TOKEN, HubServer

from hf_transfer_kit.hub import save_results

COMMIT = r"/api/models/me/{}/commit/"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The server afterwards, the folder's hash before and after, and each case's outcome."""
    folder = tmp_path_factory.mktemp("faults")
    case = bert()
    save_results(folder / "run", case.report, case.model, case.processor, {}, base_model=case.base_model)
    with HubServer() as server:
        server.fail("POST", "/api/repos/create/answers-500", times=2, status=503)
        server.fail("POST", COMMIT.format("answers-500"), times=1, status=500)
        server.fail("POST", COMMIT.format("commit-lost"), times=1, after_work=True)
        server.fail("PUT", "/blobs/me/upload-cut/", times=1, drop_after=1000)
        server.fail("POST", COMMIT.format("asked-to-wait"), times=1, status=429, headers={"Retry-After": "2"})
        server.fail("POST", COMMIT.format("late"), times=1, delay=1.5)
        server.fail("POST", "/api/models/me/card-gateway/preupload", times=1, status=502)
        server.fail("POST", COMMIT.format("always-500"), times=2, status=500)
        server.fail("POST", COMMIT.format("bad-card"), times=9, status=400)
        before = fingerprint(folder / "run")
        outcomes = folder / "outcomes.json"
        server.fail("GET", "/api/whoami-v2", times=1, status=500)
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("faults_process.py")), str(folder / "run"), str(outcomes)],
            env=server.environment(folder / "home"), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert TOKEN not in done.stdout + done.stderr
        yield server, (before, fingerprint(folder / "run")), json.loads(outcomes.read_text())


def without_card(files):
    return {path: data for path, data in files.items() if path != "README.md"}


def fingerprint(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.*"))}


@pytest.mark.parametrize("name", ["answers-500", "commit-lost", "upload-cut", "asked-to-wait", "late", "card-gateway"])
def test_a_fault_that_passes_ends_in_one_whole_commit(told, name):
    server, _, outcomes = told
    assert "commit" in outcomes[name], outcomes[name]
    repository = server.repositories["models", f"me/{name}"]
    assert repository.messages == ["initial commit", "transfer: base on birds"]
    assert without_card(server.files(f"me/{name}")) == without_card(server.files("me/fine"))
    assert f'name = "me/{name}"' in server.files(f"me/{name}")["README.md"].decode()


def test_each_fault_was_met_and_the_hubs_wait_was_honoured(told):
    server, _, outcomes = told
    assert [fault.times for fault in server.faults if fault.status != 400] == [0] * 9
    assert server.asked("POST", "/api/repos/create/answers-500") == 4  # two refused, one before the commit that failed
    assert server.asked("PUT", "/blobs/me/upload-cut/") == 2
    assert outcomes["asked-to-wait"]["seconds"] >= 2
    assert outcomes["late"]["seconds"] >= 1.5


def test_what_arrived_is_not_sent_again(told):
    server, _, _ = told
    assert server.asked("PUT", "/blobs/me/fine/") == 1
    assert server.asked("PUT", "/blobs/me/always-500/") == 1  # nor after two failures and another push
    assert server.asked("POST", COMMIT.format("fine")) == 1  # the second push found nothing new


def test_a_fault_that_stays_is_one_sentence_with_the_command_for_later(told):
    server, (before, after), outcomes = told
    error = outcomes["always-500"]["error"]
    assert "answered 500 2 times while me/always-500 was asked for" in error
    assert "hf-transfer push" in error
    assert error.endswith("run me/always-500")
    assert "commit" in outcomes["always-500-later"]
    assert before == after
    assert without_card(server.files("me/always-500")) == without_card(server.files("me/fine"))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("bad-token", "HubError", "does not know the token (401)"),
        ("read-only", "HubError", "may not write to somebody/else (403)"),
        ("bad-card", "HubError", "The Hub refused what was asked of me/bad-card"),
        ("no name", "SettingsError", "'me/-no--name' is no name of a repository"),
        ("whoami-bad", "HubError", "does not know the token (401)"),
        ("whoami-reader", "HubError", "may only read"),
        ("whoami-none", "HubError", "There is no token"),
    ],
)
def test_a_refusal_is_one_sentence_at_once(told, name, kind, words):
    outcome = told[2][name]
    assert outcome["kind"] == kind
    assert words in outcome["error"]
    assert "\n" not in outcome["error"]
    assert TOKEN[:-1] not in outcome["error"]
    assert outcome["seconds"] < 5


def test_names_are_completed_and_checked(told):
    assert told[2]["whoami"]["commit"] == "me/short"
    assert told[2]["whoami-500"]["commit"] == "me/whoami-500"


def test_visibility_branch_and_message(told):
    server, _, _ = told
    repository = server.repositories["models", "me/hidden"]
    assert repository.private
    assert repository.messages[-1] == "By hand."
    assert repository.files("main") == {}
    assert without_card(server.files("me/hidden", "second")) == without_card(server.files("me/fine"))
