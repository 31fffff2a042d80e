"""A Hub on 127.0.0.1: repositories of models and datasets in memory, and faults on demand.

Pushing and pulling run in processes that are started with ``server.environment()``, since huggingface_hub reads its
address at import.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import hub_answers
from hub_answers import Fault, Repository

TOKEN = "hf_" + "loopbackloopbackloopbackloopback"  # the shape of a real one, in two parts so that no scanner minds
READ_TOKEN = TOKEN[:-1] + "R"


class HubServer:
    """Answers what huggingface_hub, transformers, peft and datasets ask of the Hub."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.unknown: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        hub = self

        class Bound(_Handler):
            server_of = hub

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def environment(self, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a process that takes this server for the Hub, with a cache of its own in ``home``."""
        ours = {
            name: value for name, value in os.environ.items() if not name.endswith("OFFLINE") and name != "HF_TOKEN"
        }
        ours |= {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        }
        return ours | ({"HF_TOKEN": token} if token else {})

    def fail(self, method: str, path: str, *, times: int = 1, **what: object) -> None:
        """The next ``times`` requests of this method whose path holds the pattern go wrong: see ``Fault``."""
        self.faults.append(Fault(method, path, times, **what))

    def heal(self) -> None:
        self.faults.clear()
        self.requests.clear()

    def add(self, repo_id: str, files: Mapping[str, bytes], *, kind: str = "models") -> Repository:
        """A repository that is there already."""
        repository = self.repositories.setdefault((kind, repo_id), Repository())
        repository.commit("main", files, "added")
        return repository

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a model's repository holds."""
        return self.repositories["models", repo_id].files(revision)

    def note(self, method: str, path: str) -> Fault | None:
        """Remembers a request; what shall go wrong with it, if anything."""
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.method == method and fault.times and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def asked(self, method: str, pattern: str) -> int:
        """How many requests of this method and path came."""
        return sum(m == method and re.search(pattern, path) is not None for m, path in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: HubServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        hub = self.server_of
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        fault = None
        if "/blobs/" in path:  # these may break off before they are whole
            fault = hub.note(method, path)
            if fault and fault.drop_after is not None:
                self.rfile.read(min(fault.drop_after, int(self.headers.get("Content-Length") or fault.drop_after)))
                return self._hang_up()
        body = self._body()
        if path == "/api/repos/create":
            path += f"/{json.loads(body)['name']}"
        fault = fault or ("/blobs/" not in path and hub.note(method, path)) or None
        if fault:
            time.sleep(fault.delay)
            if fault.status:
                return self._json({"error": "asked to fail"}, fault.status, dict(fault.headers))
        status, found, headers = self._work(method, path, query, body)
        if fault and fault.after_work:
            return self._hang_up()
        return self._json(found, status, headers)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, found: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        headers = dict(headers or {})
        if "Range" in self.headers and status == 200 and isinstance(found, bytes):
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"]).groups()
            end = min(int(last or len(body) - 1), len(body) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(body)}"
            body, status = body[int(first) : end + 1], 206
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _work(self, method: str, path: str, query: Mapping, body: bytes) -> tuple[int, object, Mapping[str, str]]:
        hub = self.server_of
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith("/blobs/"):
            hub.blobs[path.removeprefix("/blobs/")] = body
            return 200, b"", {}
        if (given or method == "POST" or "whoami" in path) and given not in (TOKEN, READ_TOKEN):
            return (
                401,
                {"error": "Invalid credentials"},
                {"X-Error-Message": "Invalid credentials in Authorization header"},
            )
        if path == "/api/whoami-v2":
            role = "write" if given == TOKEN else "read"
            return 200, {"type": "user", "name": "me", "auth": {"accessToken": {"role": role}}}, {}
        if path == "/api/validate-yaml":
            return hub_answers.validate(json.loads(body)["content"])
        if path.startswith("/api/repos/create"):
            return self._create(json.loads(body))
        with hub.lock:
            return self._in_repository(method, path, query, body)

    def _create(self, wanted: Mapping) -> tuple[int, object, Mapping[str, str]]:
        hub = self.server_of
        owner = wanted.get("organization") or "me"
        kind, name = f"{wanted.get('type') or 'model'}s", f"{owner}/{wanted['name']}"
        if owner != "me":
            return (
                403,
                {"error": "no"},
                {"X-Error-Message": f"You don't have the rights to create a model under {owner}"},
            )
        url = {"url": f"{hub.address}/{name if kind == 'models' else f'{kind}/{name}'}"}
        if (kind, name) in hub.repositories:
            return 409, {"error": "You already created this model repo", **url}, {}
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        hub.repositories[kind, name] = repository = Repository(private)
        repository.commit("main", {}, "initial commit")
        return 200, url, {}

    def _in_repository(self, method: str, path: str, query: Mapping, body: bytes):
        hub = self.server_of
        found = re.fullmatch(r"/(?:api/)?(?:(models|datasets)/)?([\w.-]+(?:/[\w.-]+)?)(?:\.git/info/(lfs)/objects/batch|/(resolve|"
                             r"revision|preupload|commit|tree|paths-info|branch|refs)(?:/(.*))?)?", path)  # fmt: skip
        if not found:
            hub.unknown.append((method, path))
            return 404, {}, {}
        kind, name, lfs, action, rest = found.groups()
        repository = hub.repositories.get((kind or "models", name))
        if repository is None:
            return 404, {}, {"X-Error-Code": "RepoNotFound"}
        if repository.private and "Authorization" not in self.headers:
            return 401, {}, {"X-Error-Code": "RepoNotFound"}
        if lfs:
            return (
                200,
                {"transfer": "basic", "objects": [self._upload(name, o) for o in json.loads(body)["objects"]]},
                {},
            )
        if action == "branch":
            taken = rest in repository.branches
            if not taken:
                repository.branches[rest] = repository.branches["main"]
            return (409 if taken else 200), {}, {}
        if action == "refs":
            refs = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": c} for b, c in repository.branches.items()]
            return 200, {"branches": refs, "converts": [], "tags": []}, {}
        revision, _, inside = (rest or "main").partition("/")
        files = repository.files(revision)
        if files is None:
            return 404, {}, {"X-Error-Code": "RevisionNotFound"}
        commit = repository.branches.get(revision, revision)
        if action == "resolve":
            return hub_answers.resolve(files, inside, commit)
        if action == "preupload":
            return 200, hub_answers.preupload(files, json.loads(body)), {}
        if action == "commit":
            return self._commit(repository, revision, files, body, name)
        if action == "paths-info":
            wanted = parse_qs(body.decode())["paths"] if not body.startswith(b"{") else json.loads(body)["paths"]
            return 200, [entry for entry in hub_answers.tree(files, "", True) if entry["path"] in wanted], {}
        if action == "tree":
            return 200, hub_answers.tree(files, inside, query.get("recursive", ["false"])[0].lower() == "true"), {}
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "modelId": name, "private": repository.private, "tags": [], "downloads": 0, "likes": 0}
        return 200, {**about, "sha": commit, "siblings": siblings}, {}

    def _upload(self, name: str, wanted: Mapping) -> dict[str, object]:
        known = f"{name}/{wanted['oid']}" in self.server_of.blobs
        href = {"href": f"{self.server_of.address}/blobs/{name}/{wanted['oid']}"}
        return {"oid": wanted["oid"], "size": wanted["size"], **({} if known else {"actions": {"upload": href}})}

    def _commit(self, repository: Repository, branch: str, files: Mapping, body: bytes, name: str):
        header, *changes = (json.loads(line) for line in body.splitlines())
        files = dict(files)
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.server_of.blobs[f"{name}/{value['oid']}"]
            else:
                gone = value["path"].rstrip("/")
                files = {p: data for p, data in files.items() if p != gone and not p.startswith(gone + "/")}
        commit = repository.commit(branch, files, header["value"]["summary"])
        return 200, {"commitUrl": f"{self.server_of.address}/{name}/commit/{commit}", "commitOid": commit}, {}
