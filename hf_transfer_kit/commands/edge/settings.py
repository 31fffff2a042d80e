"""Settings read and written: `--config file.yaml`, over which flags win, and what a run leaves of both."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import re
import shlex
import sys
from argparse import Action
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NoReturn

import datasets
import torch
import transformers
import yaml
from transformers import HfArgumentParser, TrainingArguments

from hf_transfer_kit.commands.edge.flag_values import check_machine, check_values
from hf_transfer_kit.commands.edge.foreign_errors import full_disk_sentence, is_foreign, sentence_of, status_of
from hf_transfer_kit.commands.edge.help_pages import commands_with
from hf_transfer_kit.commands.edge.idle_flags import refuse_idle, typed_flags
from hf_transfer_kit.commands.edge.named_commands import PROGRAM, program
from hf_transfer_kit.commands.edge.needed_flags import refuse_without
from hf_transfer_kit.commands.edge.places import absolute, portable
from hf_transfer_kit.commands.edge.settings_files import COMMAND_LINE_ONLY, merged_settings
from hf_transfer_kit.commands.edge.several_processes import last_words, one_voice, say_once
from hf_transfer_kit.errors import SettingsError, TransferKitError, first_line
from hf_transfer_kit.hub import without_tokens
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.registering import load_plugins
from hf_transfer_kit.reports.escaping import plain_text
from hf_transfer_kit.selection.contest.store import RunStore

# Settings that are about one run on one machine.
_OF_ONE_RUN = (
    "output_dir", "local_rank", "cache_dir", "store", "workers", "executor", "ray_address", "resume_from_checkpoint",
    "per_device_train_batch_size", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy",
    "hub_always_push",
)  # fmt: skip


def parse_arguments(*kinds: type, recipe: str | None = None, argv: list[str] | None = None) -> tuple:
    """Instances of the given dataclasses from ``--config file.yaml`` and the command line, flags winning.

    Args:
        *kinds: The dataclasses.
        recipe: Name of the script, whose idle flags are refused.
        argv: The command line; default: that of the process.

    Raises:
        SettingsError: When the file cannot be read, or holds a name that is no flag or that only the command line may
            give; when a flag would do nothing, or a value is out of range.
    """
    argv = _with_plugins(list(sys.argv[1:] if argv is None else argv))
    parser = _Parser(kinds, allow_abbrev=False)  # --metric is not to be read as --metric_for_best_model
    argv = merged_settings(kinds, argv)
    written = typed_flags(kinds, argv)
    refuse_idle(recipe, written, program=program())
    _TYPED[:] = written
    given, unread = parser.parse_known_args(argv)
    if unread:
        raise SettingsError(_unread_sentence(unread[0], {name for name in parser.names if "-" not in name}))
    refuse_without(written)
    check_values({name: value for name, value in vars(given).items() if value != parser.get_default(name)})
    try:
        arguments = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    except (ValueError, TypeError, ImportError, RuntimeError, NotImplementedError, OSError, KeyError) as error:
        # TrainingArguments looks at combinations, devices and packages, in words of its own.
        if isinstance(error, TransferKitError) or not is_foreign(error):
            raise
        raise SettingsError(
            f"These flags cannot be used together, or not on this machine: {first_line(error)}"
        ) from error
    check_machine(*arguments)
    return arguments


class _Parser(HfArgumentParser):
    """Says what is wrong in one sentence, without a page of usage before it."""

    @property
    def names(self) -> list[str]:
        """All flags, without the dashes before them."""
        return [text[2:] for text in self._option_string_actions if text.startswith("--")]

    def error(self, message: str) -> NoReturn:
        raise SettingsError(_parser_sentence(message, self._option_string_actions))


def _parser_sentence(message: str, actions: Mapping[str, Action]) -> str:
    """What argparse says, as the other sentences say it."""
    found = re.match(r"argument (--\w+)[^:]*: (.*)", message, re.DOTALL)
    if found is None:
        return f"{message[:1].upper()}{message[1:]}. --help lists the flags."
    flag, reason = found.groups()
    if reason.startswith("Truthy value expected: got "):
        return f"{flag} {reason.split()[4]} is not what it should be: give true or false."
    if (value := re.match(r"invalid (?:choice|\S+ value): (.*?)(?: \(choose from .*\))?$", reason, re.DOTALL)) is None:
        return f"{flag}: {reason}. Write it with a value after it; --help lists the flags."
    action, given = actions[flag], value[1].strip("'\"")
    if action.choices:
        choices = [str(getattr(choice, "value", choice)) for choice in action.choices]
        return f"{flag} {given} is unknown; choose {', '.join(choices)}.{did_you_mean(given, choices)}"
    wanted = {int: "a whole number", float: "a number"}.get(action.type, "true or false")
    return f"{flag} {given} is not what it should be: give {wanted}."


def _unread_sentence(word: str, names: Collection[str]) -> str:
    if not word.startswith("--"):
        return f"{word!r} stands behind no flag. Write --flag value; --help lists the flags."
    flag = word[2:].partition("=")[0].replace("-", "_")
    if others := [f"{PROGRAM} {name}" for name in commands_with(flag)]:
        return f"{word} is no flag of {program()} but of {', '.join(others)}; --help lists those that it has."
    near = did_you_mean(flag, names).replace("'", "--", 1).replace("'", "")
    return f"{word} is no flag of {program()}; --help lists them.{near}"


_ENDED = (
    "ended from outside (SIGTERM): by whoever started it, or because another process of the run had ended, whose own "
    "words tell why."
)
_TYPED: list[str] = []


def typed() -> frozenset[str]:
    """Fields that the user gave a value, on the command line or in ``--config``."""
    return frozenset(_TYPED)


def sentences_for_errors(main: Callable[[], None]) -> None:
    """Runs a script; what is raised on purpose, or by files, devices and the Hub, ends it with a sentence alone.

    Its exit status is 2 for what was typed and 1 for what failed. What nobody foresaw keeps its trace.
    """
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    name = program()
    try:
        with one_voice(), last_words(lambda: f"{name}: {_ENDED}{_how_to_go_on()}"):
            main()
        sys.stdout.flush()
    except TransferKitError as error:
        say_once(f"{name}: {full_disk_sentence(error) or error}")
        sys.exit(status_of(error))
    except KeyboardInterrupt:
        say_once(f"\n{name}: stopped.{_how_to_go_on()}")
        sys.exit(130)
    except BrokenPipeError:  # whoever read what was printed has ended, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        say_once(f"{name}: {sentence}{_how_to_go_on()}")
        sys.exit(1)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Threads of a process group that outlive Python's last step abort the process; a model that was wrapped for
        # several processes holds the group as well.
        gc.collect()
        torch.distributed.destroy_process_group()


def _with_plugins(argv: list[str]) -> list[str]:
    """The command line without ``--plugin FILE``, whose files have been run: on it alone, never in a shared file."""
    files, rest = [], []
    words = iter(argv)
    for word in words:
        if word != "--plugin":
            rest.append(word)
            continue
        path = next(words, None)
        if path is None:
            raise SettingsError("--plugin needs the path of a Python file after it.")
        files.append(path)
    load_plugins(files)
    _PLUGINS[:] = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
    return rest


_PLUGINS: list[str] = []


def plugins() -> list[str]:
    """What the plugin files of this command hold, as hashes: what their members gave hangs on it."""
    return list(_PLUGINS)


_STORES: list[RunStore] = []


def kept_in(store: RunStore) -> None:
    """Notes where finished runs lie, for the sentence after an interruption."""
    _STORES[:] = [store]


def _how_to_go_on() -> str:
    if not _STORES:
        return ""
    store = _STORES[0]
    return (
        f" {len(store)} finished runs are kept in {portable(str(store.folder))}; the same command goes on with what is "
        "missing."
    )


def resolved_config(*arguments: object) -> dict[str, object]:
    """All settings that ``--config`` can read back: the kit's own, and Trainer's where they differ from the default.

    Tokens are left out, and so is what only this run is about (its output folder) and what only the command line may
    give. Paths are absolute, so that the file serves from any folder.
    """
    config: dict[str, object] = {}
    for argument in arguments:
        training = isinstance(argument, TrainingArguments)
        default = type(argument)()
        for f in dataclasses.fields(argument):
            value = getattr(argument, f.name)
            private = "token" in f.name or f.name in (*_OF_ONE_RUN, *COMMAND_LINE_ONLY)
            if private or value is None or (training and value == getattr(default, f.name)):
                continue
            value = getattr(value, "value", value)
            if isinstance(value, (bool, int, float, str, list, dict)):
                config[f.name] = absolute(f.name, value)
    return config


def write_settings(path: Path, settings: dict[str, object], *, comment: str = "") -> None:
    """Writes a file that ``--config`` reads back.

    Args:
        path: Of the file.
        settings: As ``resolved_config`` gives them.
        comment: Lines for people, above them.
    """
    lines = "".join(f"# {plain_text(line)}\n" for line in comment.splitlines())
    text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True)
    path.write_text(lines + text, encoding="utf-8")


def command_line() -> str:
    """The command as typed, without the places of files on this machine and without tokens."""
    called = program().split() if program().startswith(PROGRAM) else ["python", portable(sys.argv[0], cut=True)]
    return shlex.join([*called, *(portable(argument, cut=True) for argument in without_tokens(sys.argv)[1:])])
