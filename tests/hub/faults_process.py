"""Pushes one folder again and again, each time to a repository for which the server has a fault in store.

python faults_process.py FOLDER OUTCOMES.json
"""

import json
import os
import sys
import time
from pathlib import Path

from hub_server import READ_TOKEN, TOKEN

from hf_transfer_kit import push_transfer_model
from hf_transfer_kit.errors import TransferKitError
from hf_transfer_kit.hub import check_destination

folder = sys.argv[1]
outcomes = {}


def attempt(name, ask):
    started = time.perf_counter()
    try:
        found = {"commit": str(ask())}
    except TransferKitError as error:
        found = {"error": str(error), "kind": type(error).__name__}
    outcomes[name] = {**found, "seconds": time.perf_counter() - started}


def push(name, repo_id=None, **settings):
    attempt(name, lambda: push_transfer_model(folder, repo_id or f"me/{name}", **{"retries": 3, **settings}))


for case in ("fine", "answers-500", "commit-lost", "upload-cut", "asked-to-wait", "late", "card-gateway"):
    push(case)
push("fine-again", "me/fine")
push("always-500", retries=1)
push("always-500-later", "me/always-500")
push("bad-token", token=TOKEN[:-1] + "X")
push("read-only", "somebody/else")
push("bad-card", "me/bad-card")
push("hidden", private=True, revision="second", commit_message="By hand.")
push("no name", "me/-no--name")
attempt("whoami", lambda: check_destination("short"))
attempt("whoami-500", lambda: check_destination("me/whoami-500"))
attempt("whoami-bad", lambda: check_destination("me/x", token=TOKEN[:-1] + "X"))
attempt("whoami-reader", lambda: check_destination("me/x", token=READ_TOKEN))
del os.environ["HF_TOKEN"]
attempt("whoami-none", lambda: check_destination("me/x"))
Path(sys.argv[2]).write_text(json.dumps(outcomes))
