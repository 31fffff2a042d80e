"""YAML as people write it, read in one place: whatever is wrong with a text ends in a sentence about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hf_transfer_kit.errors import SettingsError, first_line

_MOST_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one, which of two values of one key would silently take the last."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, *, what: str) -> Any:
    """What a text holds: numbers, texts, lists and mappings alone.

    Args:
        text: YAML.
        what: Where it stands, the subject of the sentence.

    Raises:
        SettingsError: When it is no YAML, a key stands twice in a mapping, or a value holds itself.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
    except Exception as error:  # beside YAMLError what Python says of dates, numbers and depths that there are not
        raise SettingsError(f"{what} is no YAML that can be read: {_reason(error)}.") from error
    _check_finite(value, what)
    return value


def read_yaml_file(path: str | Path, *, what: str) -> Any:
    """What a file holds, as ``read_yaml`` says.

    Raises:
        SettingsError: When it is no file, cannot be read or is no text in UTF-8, too.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise SettingsError(f"{what}: there is no such file.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{what} is no text in UTF-8 ({error.reason} at byte {error.start}). Save it so."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise SettingsError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return read_yaml(text, what=what)


def _reason(error: Exception) -> str:
    """In one line, with the place where there is one."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(error, 'problem', None) or first_line(error)}{place}".replace("\n", " ")


def _check_finite(value: Any, what: str) -> None:
    """Refuses what refers to itself, or grows without end by references: no setting is that."""
    left, seen = [value], 0
    while left:
        inner = left.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise SettingsError(
                f"{what} is no YAML that can be read: it holds itself, or more values than any setting."
            )
        if isinstance(inner, dict):
            left += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list | tuple | set):
            left += inner
