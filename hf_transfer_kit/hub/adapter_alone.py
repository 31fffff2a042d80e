"""A folder that holds an adapter without the network it changes: what is shared of it, under which card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from hf_transfer_kit.errors import HubError
from hf_transfer_kit.hub.card import TransferCard
from hf_transfer_kit.hub.card_pictures import save_card_pictures
from hf_transfer_kit.hub.manifest import described, write_manifest
from hf_transfer_kit.hub.shareable import checked_report, shareable_files

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter_alone(folder: Path) -> bool:
    """Whether the folder's only weights are those of an adapter, as in ``adapter/`` of a LoRA run's output folder."""
    weights = {path.name for path in folder.glob("*.safetensors")}
    return weights == {_WEIGHTS} and (folder / _SETTINGS).is_file()


def stage_adapter(folder: Path, staged: Path) -> None:
    """Puts what is shared of an adapter into another folder, with a card that says that it is one.

    Report, settings and processor are those of the run: of the folder itself, or of the one that it lies in. The card's
    base model, licence, languages and data are those of the run's card.

    Args:
        folder: The adapter's.
        staged: An empty one.

    Raises:
        HubError: When no run's report is at hand, or the run was not finished.
    """
    home = folder if (folder / "report.json").is_file() else folder.absolute().parent
    if not (home / "report.json").is_file() or not (home / "README.md").is_file():
        raise HubError(
            f"{folder} holds an adapter alone, and neither there nor in the folder around it is the report of its run "
            "with its card. Push the adapter from the run's output folder."
        )
    report = checked_report(home)
    shared = shareable_files(home)
    for file in shared:
        if len(file.parts) == 1 and file.suffix != ".safetensors" and file.name not in ("config.json", "README.md"):
            shutil.copyfile(home / file, staged / file)
    for name in (_SETTINGS, _WEIGHTS):
        if Path(os.path.relpath(folder, home)) / name not in shared:
            raise HubError(f"{folder / name} was not written by the run in {home}, so it is not pushed as its result.")
        shutil.copyfile(folder / name, staged / name)
    of_run = ModelCard.load(home / "README.md", ignore_metadata_errors=True).data
    card = TransferCard.from_report(
        report,
        base_model=of_run.base_model if isinstance(of_run.base_model, str) else None,
        license=of_run.license,
        language=of_run.language,
        datasets=of_run.datasets or (),
        pictures=save_card_pictures(staged, report),
        adapter_alone=True,
        config=json.loads((home / "config.json").read_text(encoding="utf-8")),
    )
    card.save(staged / "README.md")
    write_manifest(staged, {path.relative_to(staged).as_posix(): described(path) for path in _files(staged)})


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
