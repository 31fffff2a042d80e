"""Where a transferred model lies: a run's folder, a snapshot of the Hub, a name there; what to do where it is none."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.hub.raw_inputs import FILE as INPUTS
from hf_transfer_kit.near_names import did_you_mean

_NEEDED = ["*.json", "*.yaml", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_MOST_NAMED = 8


def model_folder(name_or_path: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a transferred model; one of the Hub is downloaded.

    Args:
        name_or_path: A folder, or a Hub name.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: When there is no such folder, or no transferred model in it.
        SettingsError: When a folder is given with a revision.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        raise ModelError(f"{name_or_path} is a file; give the folder that it lies in, {_shown(path.parent)}.")
    if path.is_dir():
        if revision is not None:
            raise SettingsError(f"The folder {name_or_path} has no revisions; leave revision={revision!r} out.")
        _check_holds_model(path)
        return path
    name = str(name_or_path)
    if _looks_local(name):
        raise ModelError(f"There is no folder {name}.{_near(path)}")
    try:
        path = Path(snapshot_download(name, revision=revision, allow_patterns=_NEEDED))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ModelError(
            f"{name} is no folder here and could not be loaded from the Hub ({first_line(error)}). Check the name, the "
            f"connection, and for a private model the login.{_near(path)}"
        ) from error
    _check_holds_model(path)
    return path


def holds_model(folder: Path) -> bool:
    """Whether a run has left a network there, and what makes its inputs."""
    has_inputs = (folder / INPUTS).is_file() or any(folder.glob(f"processors/*/{INPUTS}"))
    return has_inputs and (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _check_holds_model(folder: Path) -> None:
    if holds_model(folder):
        return
    if holds_model(folder.absolute().parent):
        what = "an adapter alone" if (folder / "adapter_config.json").is_file() else "a part of a run"
        raise ModelError(f"{folder} is {what}; give the folder around it, {_shown(folder.absolute().parent)}.")
    inside = [each for each in _folders_in(folder) if holds_model(each)]
    if inside:
        raise ModelError(f"{folder} is no transferred model, but holds some. Give one of these: {_listed(inside)}.")
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds a network, but no {INPUTS}, which says how its inputs were made: it is a pretrained "
            "checkpoint, or was saved without save_results. Give the folder that a run has left (its --output_dir)."
        )
    if (folder / "report.json").is_file():
        raise ModelError(
            f"The run in {folder} has left no network: it was interrupted, or its recipe trains none that is kept. "
            "Give the folder of a run that ended (transfer, finetune, adapt, multitask, zero_shot)."
        )
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter without the network that it changes. Give the folder of the run that has left "
            "it, where both are merged."
        )
    raise ModelError(
        f"{folder} is no transferred model: it holds neither a network nor {INPUTS}. Give the folder that a run has "
        f"left (its --output_dir).{_near(folder)}"
    )


def _looks_local(name: str) -> bool:
    path = Path(name)
    typed_as_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or name.endswith("/")
    return typed_as_path or ("/" in name and path.parent.is_dir())


def _near(path: Path) -> str:
    """A question with the models beside it, or in the folders where scripts leave them."""
    places = [path.parent, *([Path("outputs")] if not path.is_absolute() else [])]
    known = {str(_shown(each)): each for place in places for each in _folders_in(place) if holds_model(each)}
    if near := did_you_mean(_shown(path), known):
        return near
    for shown, each in known.items():
        if did_you_mean(path.name, [each.name]):
            return f" Did you mean {shown!r}?"
    if not known:
        return ""
    return f" There are {_listed(list(known.values()))}."


def _folders_in(folder: Path) -> list[Path]:
    """Without what a killed run left half-written, whose name begins with a dot."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(each for each in found if each.is_dir() and not each.name.startswith("."))


def _shown(path: Path) -> Path:
    """As seen from the working folder where it lies in it."""
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path


def _listed(folders: list[Path]) -> str:
    names = [str(_shown(each)) for each in folders]
    return ", ".join(names[:_MOST_NAMED]) + ", ..." * (len(names) > _MOST_NAMED)
