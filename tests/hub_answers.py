"""What ``hub_server`` keeps, and what it answers about the files of a revision."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

BIG = (".safetensors", ".parquet", ".bin", ".pt", ".png", ".model")


@dataclass
class Fault:
    """What happens to the next ``times`` requests that fit, instead of an answer (after ``delay``: before it)."""

    method: str
    path: str
    times: int
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    delay: float = 0.0
    after_work: bool = False


@dataclass
class Repository:
    """Commits by name, and branches that point at them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: Mapping[str, bytes], message: str) -> str:
        name = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        self.messages.append(message)
        return name

    def files(self, revision: str) -> dict[str, bytes] | None:
        return self.commits.get(self.branches.get(revision, revision))


def oid(path: str, data: bytes) -> str:
    if path.endswith(BIG):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def resolve(files: Mapping[str, bytes], path: str, commit: str) -> tuple[int, object, Mapping[str, str]]:
    if path not in files:
        return 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
    etag = {"ETag": f'"{oid(path, files[path])}"', "X-Linked-Size": str(len(files[path]))}
    return 200, files[path], {**etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}


def preupload(files: Mapping[str, bytes], asked: Mapping) -> dict[str, object]:
    """Which files are large, which are there, and which .gitignore keeps away: the one sent along, or the repository's."""
    ignored = asked.get("gitIgnore") or files.get(".gitignore", b"").decode()
    patterns = [line for line in ignored.split("\n") if line and not line.startswith("#")]

    def about(path: str) -> dict[str, object]:
        kept_away = any(fnmatch.fnmatch(part, p.rstrip("/")) for p in patterns for part in path.split("/"))
        mode = {"uploadMode": "lfs" if path.endswith(BIG) else "regular", "shouldIgnore": kept_away}
        return {"path": path, **mode, **({"oid": oid(path, files[path])} if path in files else {})}

    return {"files": [about(file["path"]) for file in asked["files"]]}


def tree(files: Mapping[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    prefix = folder.rstrip("/") + "/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for path, data in files.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            inner = prefix + "/".join(parts[:depth])
            if depth == 1 or recursive:
                entries[inner] = {"type": "directory", "path": inner, "oid": "0" * 40, "size": 0}
        if len(parts) == 1 or recursive:
            lfs = {"lfs": {"oid": oid(path, data), "size": len(data), "pointerSize": 130}} if path.endswith(BIG) else {}
            entries[path] = {"type": "file", "path": path, "oid": oid(path, data), "size": len(data), **lfs}
    return list(entries.values())


def validate(card: str) -> tuple[int, object, Mapping[str, str]]:
    """The Hub's rules for a card's metadata, those that are sure."""
    try:
        found = yaml.safe_load(card.split("---")[1])
        wrong = [] if isinstance(found, dict) else ["no metadata"]
    except (yaml.YAMLError, IndexError) as error:
        found, wrong = {}, [str(error)]
    if isinstance(found, dict):
        names = found.get("base_model") or []
        for name in [names] if isinstance(names, str) else names:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
                wrong.append(f'"base_model" {name} is no name of a model')
        if found.get("base_model_relation") not in (None, "adapter", "finetune", "merge", "quantized"):
            wrong.append('"base_model_relation" is unknown')
    answer = {"errors": [{"message": text} for text in wrong], "warnings": []}
    return (400 if wrong else 200), answer, {}
