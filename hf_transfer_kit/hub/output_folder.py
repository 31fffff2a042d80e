"""Whether a run may use a folder for its output: nothing of others is lost, and no data or model is written over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.ranks import Ranks
from hf_transfer_kit.hub.manifest import MANIFEST, foreign_files
from hf_transfer_kit.hub.placing import remove_leftovers
from hf_transfer_kit.hub.unfinished import is_unfinished

REPORT = ("report.json", "report.html", "config.yaml")
"""What a script without a network writes."""
RESULTS = (
    *REPORT, "README.md", "results.csv", "config.json", "generation_config.json", "model.safetensors",
    "model-*-of-*.safetensors", "model.safetensors.index.json", "inputs.json", "rejection.json",
    "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja",
    "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "processors/*/inputs.json",
    *(f"pictures/{name}.svg" for name in ("curves", "run", "features", "left_out", "gains", "losses", "curve")),
)  # fmt: skip
"""What ``save_results`` may write."""


def check_output_dir(
    output_dir: str | Path,
    *,
    overwrite: bool = False,
    names: Sequence[str] = RESULTS,
    data: Mapping[str, Sequence[str]] | None = None,
    models: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuses a folder that a run must not write into, before any work is done.

    That is one with a finished run's report, with files of others (or changed ones) under names that the run will
    write, the folder of a model, and that of data or one inside it, which would be read as data the next time. Files
    under other names stay as they are. What a killed run left half-written is removed.

    Args:
        output_dir: May be absent.
        overwrite: Whether reports and files of others may be replaced.
        names: What the run writes, relative to the folder, with patterns.
        data: Flag -> paths or names of what is read; names that are no path here do not matter.
        models: The same of networks.

    Raises:
        SettingsError: With the rule, what was found and what to do.

    Example:
        >>> check_output_dir("new_folder")
    """
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--output_dir {output_dir} is a file; give a folder.")
    if folder.resolve() == folder.resolve().parent:
        raise SettingsError(f"--output_dir {output_dir} is a whole disk; give a folder of its own.")
    _check_apart(folder, data or {}, models or {})
    if (folder / "report.json").exists() and not overwrite and not is_unfinished(folder):
        raise SettingsError(
            f"--output_dir {output_dir} holds a report already. Choose another folder, or give --overwrite_output_dir "
            "to replace it."
        )
    foreign = foreign_files(folder, names)
    # A folder or a link of such a name cannot be replaced by a file, and what is no manifest of ours must be looked at.
    stuck = [name for name in foreign if name == MANIFEST or not _is_plain_file(folder / name)]
    if stuck:
        raise SettingsError(
            f"--output_dir {output_dir} holds {_some(stuck)}, which this kit did not make, where the run writes. "
            "Choose another folder, or move it away."
        )
    if foreign and not overwrite:
        raise SettingsError(
            f"--output_dir {output_dir} holds {_some(foreign)}, which this kit did not write or which was changed "
            "since, and the run writes files of these names. Choose another folder, move them away, or give "
            "--overwrite_output_dir to replace them."
        )
    if Ranks().rank == 0:
        remove_leftovers(folder)


def _check_apart(folder: Path, data: Mapping[str, Sequence[str]], models: Mapping[str, Sequence[str]]) -> None:
    here = folder.resolve()
    for flag, names in data.items():
        for path in _paths(names):
            home = path if path.is_dir() else path.parent
            if home == here or (path.is_dir() and home in here.parents):
                raise SettingsError(
                    f"--output_dir {folder} {'is' if home == here else 'lies in'} the folder of {flag}, so what the "
                    "run writes would be read as data the next time. Choose a folder outside it."
                )
    for flag, names in models.items():
        if here in _paths(names):
            raise SettingsError(
                f"--output_dir {folder} is the folder of {flag}, whose files the run would replace. Choose another."
            )


def _paths(names: Sequence[str]) -> list[Path]:
    """Those that are paths here, links followed."""
    return [Path(name).expanduser().resolve() for name in names if Path(name).expanduser().exists()]


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8)
