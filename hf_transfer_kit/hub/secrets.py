"""Access tokens of the common services, told by their shape, in texts and in what pictures and weights say beside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
# fmt: off
KINDS: dict[str, re.Pattern[str]] = {
    "an access token of Hugging Face": re.compile(r"\b(?:hf_|api_org_)[A-Za-z0-9]{20,}"),
    "an access key of AWS": re.compile(
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?i:aws_?secret_?access_?key)\W{1,5}[A-Za-z0-9/+]{40}"
    ),
    "an access token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{22,}"),
    "an access token of GitLab": re.compile(r"\bglpat-[\w-]{20,}"),
    "an API key as OpenAI's": re.compile(r"(?<![A-Za-z0-9-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}"),
    "an access token of Slack": re.compile(
        r"\bxox[a-z]-[\w-]{10,}|\bxapp-\d-[\w-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w+"
    ),
    "an API key of Google": re.compile(r"\bAIza[\w-]{35}|\bGOCSPX-[\w-]{20,}|\bya29\.[\w-]{20,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "an API key of Weights & Biases": re.compile(
        r"(?i)wandb[^\n]{0,40}?(?:key|password)\W{1,5}[0-9a-f]{40}\b|\bwandb\.ai\s+login\s+\S+\s+password\s+[0-9a-f]{40}\b"
        r"|\bwandb_v1_\w{20,}"
    ),
    "an API key of Stripe": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
    "an access token of PyPI or npm": re.compile(r"\bpypi-AgE[\w-]{50,}|\bnpm_[A-Za-z0-9]{36}\b"),
    "an account key of Azure": re.compile(r"\bAccountKey=[A-Za-z0-9+/]{60,}"),
    "a signed web token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/@:\"']+:[^\s/@\"']{3,}@[\w.-]+"),
}
# fmt: on


def secret_in(text: str) -> str | None:
    """Which kind of token a text holds, if any; the token itself is not repeated."""
    text = text.replace("\x00", "")  # as in texts of two bytes a character
    return next((kind for kind, pattern in KINDS.items() if pattern.search(text)), None)


def told_in(path: Path) -> Iterator[str]:
    """What a file that is no text says in words: a picture's metadata, the header of weights, or its letters."""
    if path.suffix.lower() in PICTURES:
        yield from _of_picture(path)
    elif path.suffix == ".safetensors":
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, path.stat().st_size))
        try:
            yield json.dumps(json.loads(header).get("__metadata__", {}))
        except (ValueError, AttributeError):
            yield header.decode("utf-8", "replace")
    else:
        yield path.read_bytes().decode("utf-8", "replace")


def _of_picture(path: Path) -> Iterator[str]:
    """All that is not pixels: the bytes as they are, for what stands beside the picture, and texts of PNG unpacked."""
    yield path.read_bytes().decode("utf-8", "replace")
    try:
        with Image.open(path) as picture:
            picture.load()  # texts may stand behind the pixels
            told = dict(picture.info)
            told |= {str(number): value for number, value in picture.getexif().items()}
            told |= {f"exif {number}": value for number, value in picture.getexif().get_ifd(0x8769).items()}
    except (OSError, ValueError, SyntaxError):  # no picture after all
        return
    for name, value in told.items():
        words = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        yield f"{name}: {words}"
