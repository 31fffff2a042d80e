"""The pages of ``--help``: the kit's flags in groups, what matters first; Trainer's others behind ``--help-all``.

They are made here and kept as files, because their flags are dataclasses that inherit from Trainer's, and importing
these takes longer than anybody wants to wait for help: ``python -m hf_transfer_kit.commands.edge.help_pages``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hf_transfer_kit.commands.edge.idle_flags import idle_flags
from hf_transfer_kit.commands.edge.named_commands import COMMANDS, PROGRAM

FOLDER = Path(__file__).parents[1] / "help"
_WIDTH = 100
_INDENT = 30
_TITLES = {
    "Network": ("NetworkArguments", "ModelArguments", "KeptModelArguments"),
    "Data": ("PreparationArguments", "DataArguments", "TaskDataArguments"),
    "Classes of unequal size": ("WeightArguments", "BalanceArguments"),
    "Caches of what frozen layers give": ("CacheArguments",),
    "The page": ("PageArguments",),
    "Runs and what they leave": (
        *("KitTrainingArguments", "OneSeedArguments", "KeptRunsArguments", "FewRunsArguments", "ComparisonArguments"),
        *("OpenRuns", "OneRunArguments", "RaceTrainingArguments", "OpenRunsArguments"),
        *("AdaptTrainingArguments", "ZeroShotTrainingArguments"),
    ),
}
"""Classes of flags that inherit from one another stand under one title; others under their docstring's first line."""
_WANTED = {
    "max_steps": "Optimizer steps of a run, instead of --num_train_epochs.",
    "lr_scheduler_type": "How the rate falls: linear, cosine, constant, ...",
    "warmup_steps": "Steps, or below 1 a share of them, until the full rate.",
    "weight_decay": "Of weights that are no biases and no norms.",
    "gradient_accumulation_steps": "Batches of one step.",
    "bf16": "Mixed precision; weights stay float32.",
    "fp16": "Mixed precision with a scaled loss, on a GPU.",
    "use_cpu": "Leave a GPU alone.",
    "seed": "Of weights, order and dropout.",
    "dataloader_num_workers": "Processes that read data.",
    "resume_from_checkpoint": "Folder, or true: go on from the last whole checkpoint.",
    "save_steps": "Steps between checkpoints.",
    "save_total_limit": "Checkpoints to keep.",
    "push_to_hub": "Send the finished folder to the Hub.",
    "hub_model_id": "Where to: user/name.",
    "hub_private_repo": "As a private repository.",
}
_RARE = ("disable_tqdm", "remove_unused_columns")
_FIRST = ("dataset", "dataset_config", "task_type", "train_size")
_ALWAYS = (
    ("--config FILE", "Settings from a YAML file, such as the config.yaml that a run leaves; flags win over it."),
    ("--plugin FILE", "Python file that registers methods of your own."),
    ("--help-all", "This page, and all of Trainer's flags."),
)


def page(name: str) -> str:
    """Help of a command: what it does, its flags in groups."""
    return "\n".join(_lines(name))


def whole_page(name: str) -> str:
    """The same, and what is left of Trainer's flags."""
    arguments = _kinds(name)[-1]
    shown = {field.name for _, _, fields in _groups(name) for field in fields} | set(_WANTED)
    left = [f for f in dataclasses.fields(arguments) if f.init and f.name not in shown | _idle(name)]
    return "\n".join([*_lines(name), "", "The rest of Trainer's flags", *_flags(arguments, left)])


def write_pages(folder: Path = FOLDER) -> None:
    """Writes the pages of all recipes."""
    folder.mkdir(exist_ok=True)
    for name, command in COMMANDS.items():
        if command.is_recipe:
            (folder / f"{name}.txt").write_text(page(name) + "\n", encoding="utf-8")


def commands_with(flag: str) -> list[str]:
    """The recipes on whose page a flag stands."""
    entry = re.compile(rf"^  --{re.escape(flag)}(?!\w)", re.MULTILINE)
    return [name for name in COMMANDS if (page := FOLDER / f"{name}.txt").is_file() and entry.search(page.read_text())]


def _lines(name: str) -> Iterator[str]:
    module = _module(name)
    first, *rest = inspect.cleandoc(module.__doc__ or "").split("\n\n")
    yield f"{PROGRAM} {name}: {first}"
    for paragraph in rest:
        yield ""
        if paragraph.startswith("   "):
            yield paragraph
        else:
            yield from textwrap.wrap(paragraph, _WIDTH)
    for title, kind, fields in _groups(name):
        yield f"\n{title}"
        yield from _flags(kind, fields)
    arguments = _kinds(name)[-1]
    own = {field.name for _, _, fields in _groups(name) for field in fields}
    known = {field.name: field for field in dataclasses.fields(arguments)}
    hints = get_type_hints(arguments)
    wanted = [flag for flag in _WANTED if flag not in _idle(name) | own]
    if wanted:
        yield "\nOf Trainer's flags, those that are wanted most"
        for flag in wanted:
            yield from _entry(f"--{flag}{_value(hints[flag])}", _with_default(_WANTED[flag], known[flag]))
    yield "\nAlways"
    for flag, words in _ALWAYS:
        yield from _entry(flag, words)


def _module(name: str) -> Any:
    return import_module(f"hf_transfer_kit.commands.{COMMANDS[name].module}")


def _kinds(name: str) -> tuple[type, ...]:
    return tuple(_module(name).FLAGS)


def _idle(name: str) -> frozenset[str]:
    typed = {"train_network": "1"}  # flags that one of the recipe's own modes honours are flags of it
    return frozenset(idle_flags(COMMANDS[name].module, typed))


def _groups(name: str) -> list[tuple[str, type, list[dataclasses.Field]]]:
    """Title, class and fields of each group of the kit's: the recipe's own first, how runs go last."""
    groups: dict[str, tuple[type, list[dataclasses.Field]]] = {}
    idle = _idle(name)
    for kind in _kinds(name):
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for base in reversed([base for base in kind.__mro__ if base.__module__.startswith("hf_transfer_kit")]):
            own = vars(base).get("__annotations__", {})
            names = [name for name in own if name in fields and name not in (*idle, *_RARE)]
            known = (title for title, classes in _TITLES.items() if base.__name__ in classes)
            _, there = groups.setdefault(next(known, _doc_title(base)), (kind, []))
            there += [fields[name] for name in names if name not in {field.name for field in there}]
            there.sort(key=lambda field: field.name not in _FIRST)
    first = [title for title, (kind, _) in groups.items() if ".flags." not in kind.__module__ and title not in _TITLES]
    last = list(_TITLES)[-1:]
    middle = [title for title in groups if title not in first + last]
    return [(title, *groups[title]) for title in (*first, *middle, *last) if groups.get(title, (0, 0))[1]]


def _doc_title(kind: type) -> str:
    return re.sub(r"\s+", " ", inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]).rstrip(".")


def _flags(kind: type, fields: Sequence[dataclasses.Field]) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields:
        yield from _entry(f"--{field.name}{_value(hints[field.name])}", _words(field))


def _entry(flag: str, words: str) -> Iterator[str]:
    left = f"  {flag}"
    lines = textwrap.wrap(words, _WIDTH - _INDENT) or [""]
    if len(left) < _INDENT - 1:
        yield f"{left:<{_INDENT}}{lines.pop(0)}".rstrip()
    else:
        yield left
    for line in lines:
        yield " " * _INDENT + line


def _value(hint: Any) -> str:
    """What stands behind a flag."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if get_origin(hint) not in (list, dict) else []
    hint = next((kind for kind in kinds if get_origin(kind) in (list, dict)), kinds[-1] if kinds else hint)
    if hint is bool:
        return ""
    if get_origin(hint) is list:
        return f"{_value(get_args(hint)[0])} ..."
    if get_origin(hint) is dict or hint is dict:
        return " '{...}'"
    return {int: " N", float: " X"}.get(hint, " TEXT")


def _words(field: dataclasses.Field) -> str:
    words = re.sub(r"\s+", " ", str(field.metadata.get("help", "")).replace("%%", "%")).strip()
    words += "".join(f" {alias} is the same." for alias in field.metadata.get("aliases", ()))
    return words if "default" in words.lower() else _with_default(words, field)


def _with_default(words: str, field: dataclasses.Field) -> str:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    value = value.value if isinstance(value, Enum) else value
    if value is True:
        return f"{words} (on; turn off by --no_{field.name})"
    if value is dataclasses.MISSING or value is None or value is False or value in ("", [], {}, -1):
        return words
    shown = " ".join(map(str, value)) if isinstance(value, list) else value
    return f"{words} (default: {shown})"


if __name__ == "__main__":
    write_pages()
