"""A hash of what a value holds: one in all processes, another as soon as a number, a letter or a pixel differs.

Objects are taken apart the way pickle does it, but by value alone: which objects are shared, the order of dictionaries
and the seed of Python's own hashes do not matter.
"""

from __future__ import annotations

import os
import types
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from datasets import Dataset
from datasets.fingerprint import Hasher
from PIL import Image as Pictures
from torch import Tensor
from transformers import FeatureExtractionMixin, ImageProcessingMixin, PreTrainedTokenizerBase

from hf_transfer_kit.data.tokenizing import tokenizer_facts
from hf_transfer_kit.errors import SettingsError

_PACKED = {int: "q", float: "d"}


def contents_hash(value: Any) -> str:
    """32 hexadecimal digits that stand for everything in ``value``.

    Tensors and arrays count by dtype, shape and bytes, wherever they lie; images by their pixels; texts that name a
    file also by its size and time of change; ``datasets`` by their own fingerprint and format; functions by their code;
    other objects by their class's name and state (not by its code), unless they have a method ``fingerprint()``.

    Raises:
        SettingsError: When something in it has no state that could be read, such as an open file.
    """
    digest = _Digest()
    digest.add(value)
    return digest.hash.hexdigest()


def array_bytes(tensor: Tensor) -> np.ndarray:
    """The bytes of a tensor of any dtype and device, uint8 of shape (bytes,)."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()


class _Digest:
    """One pass over a value. Each part is preceded by its kind and length, so that no two values read alike."""

    def __init__(self) -> None:
        self.hash = xxhash.xxh3_128()
        self._open: set[int] = set()

    def add(self, value: Any) -> None:
        """Takes in one value."""
        asked = getattr(value, "fingerprint", None)
        if callable(asked) and not isinstance(value, type):
            self._say("asked", str(asked()))
        elif value is None or isinstance(value, bool | int | float | complex | torch.dtype | torch.device):
            self._say(type(value).__name__, repr(value))
        elif isinstance(value, str | Path):
            self._text(str(value))
        elif isinstance(value, bytes | bytearray | memoryview):
            self._raw("bytes", value)
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif isinstance(value, type | types.ModuleType) or _is_builtin(value):
            self._say("name", _full_name(value))
        elif isinstance(value, types.FunctionType):
            self._say("function", _function_hash(value))
        else:
            with self._inside(value) as first_time:
                if first_time:
                    self._compound(value)

    def _say(self, kind: str, words: str = "") -> None:
        self._raw(kind, words.encode("utf-8", "surrogatepass"))

    def _raw(self, kind: str, data: Any) -> None:
        view = memoryview(data).cast("B") if len(data) else b""
        self.hash.update(f"{kind}:{len(view)}:".encode())
        self.hash.update(view)

    def _text(self, text: str) -> None:
        self._say("str", text)
        if os.sep in text and len(text) < 1024 and "\n" not in text and "\0" not in text and os.path.isfile(text):
            facts = os.stat(text)
            self._say("file", f"{facts.st_size} {facts.st_mtime_ns}")

    def _tensor(self, tensor: Tensor) -> None:
        try:
            data = array_bytes(tensor)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise _unreadable(tensor, f"a tensor on {tensor.device} of layout {tensor.layout}") from error
        self._say("tensor", f"{tensor.dtype} {tuple(tensor.shape)}")
        self._raw("data", data)

    def _array(self, values: np.ndarray) -> None:
        self._say("array", f"{values.dtype.str} {values.shape}")
        if values.dtype.hasobject:
            self._each("objects", values.reshape(-1).tolist())
        else:
            self._raw("data", np.ascontiguousarray(values).reshape(-1).view(np.uint8))

    @contextmanager
    def _inside(self, value: Any) -> Iterator[bool]:
        """Whether this object is not being read already: one that holds itself is read once."""
        first_time = id(value) not in self._open
        if not first_time:
            self._say("above")
            yield False
            return
        self._open.add(id(value))
        try:
            yield True
        finally:
            self._open.discard(id(value))

    def _compound(self, value: Any) -> None:
        if isinstance(value, Dataset):
            format_ = {name: item for name, item in value.format.items() if name != "columns"}
            self._each("dataset", (value._fingerprint, format_, sorted(value.format["columns"])))
        elif isinstance(value, Pictures.Image):
            self._each("image", (value.mode, value.size, value.tobytes(), value.getpalette()))
        elif isinstance(value, PreTrainedTokenizerBase):
            self._each("tokenizer", (_full_name(type(value)), tokenizer_facts(value)))
        elif isinstance(value, FeatureExtractionMixin | ImageProcessingMixin):
            facts = {name: item for name, item in value.to_dict().items() if not name.startswith("_")}
            self._each("processor", (_full_name(type(value)), facts))
        elif isinstance(value, Mapping):
            pairs = [(contents_hash(key), key, item) for key, item in value.items()]
            self._each("mapping", (part for pair in sorted(pairs, key=lambda pair: pair[0]) for part in pair[1:]))
        elif isinstance(value, Set):
            self._each("set", sorted(map(contents_hash, value)))
        elif isinstance(value, Sequence):
            self._sequence(value)
        elif isinstance(value, types.MethodType):
            self._each("method", (value.__self__, value.__func__))
        elif isinstance(value, partial):
            self._each("partial", (value.func, value.args, value.keywords))
        else:
            self._each("object", _taken_apart(value))

    def _each(self, kind: str, parts: Iterable[Any]) -> None:
        self._say(kind)
        for part in parts:
            self.add(part)
        self._say("end")

    def _sequence(self, values: Sequence[Any]) -> None:
        """Long lists of numbers, such as tokens, at the speed of an array."""
        kinds = set(map(type, values)) if isinstance(values, list | tuple | range) else set()
        code = _PACKED.get(kinds.pop()) if len(kinds) == 1 else None
        if code is not None:
            try:
                self._raw(f"numbers {code}", array(code, values))
                return
            except OverflowError:
                pass
        self._each(f"sequence {len(values)}", values)


def _full_name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"


def _is_builtin(value: Any) -> bool:
    """Whether it is a function of C that belongs to no object."""
    return isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, types.ModuleType | None)


def _function_hash(function: types.FunctionType) -> str:
    try:
        return Hasher.hash(function)
    except Exception as error:  # pickling runs code of whatever the function refers to
        raise _unreadable(function, f"the function {function.__qualname__}") from error


def _taken_apart(value: Any) -> tuple[Any, ...]:
    """Class, arguments and state of an object, as pickle would store them."""
    try:
        parts = value.__reduce_ex__(4)
    except Exception as error:  # objects say in their own ways that they have no state to show
        raise _unreadable(value, f"a {_full_name(type(value))}") from error
    if isinstance(parts, str):
        return (_full_name(type(value)), parts)
    made_by, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    return (_full_name(type(value)), made_by, arguments, state, list(items or ()), list(pairs or ()))


def _unreadable(value: Any, what: str) -> SettingsError:
    return SettingsError(
        f"Whether the data has changed cannot be told: it holds {what}, whose contents cannot be read. Give "
        'fingerprint="any text that changes when the data does".'
    )
