"""Names for what a cache depends on: weights, data and transform; another one as soon as any of them changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xxhash
from torch import Tensor

from hf_transfer_kit.data.contents import array_bytes, contents_hash
from hf_transfer_kit.errors import ModelError, SettingsError


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits for named tensors: names, dtypes, shapes and bytes; not their order or device.

    Raises:
        ModelError: When a tensor has no bytes to read, as on the meta device.

    Example:
        >>> weights_fingerprint(model.state_dict()) == weights_fingerprint(dict(reversed(model.state_dict().items())))
        True
    """
    digest = xxhash.xxh3_128()
    for name in sorted(tensors):
        tensor = tensors[name]
        try:
            data = array_bytes(tensor)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise ModelError(
                f"The weights of {name} cannot be read: they are on {tensor.device}, of layout {tensor.layout}. Load "
                "the weights as ordinary tensors first."
            ) from error
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(data.data)
    return digest.hexdigest()


def data_fingerprint(dataset: Any) -> str:
    """32 hexadecimal digits for the rows of a dataset and what is done to them when they are read.

    An object with a method ``fingerprint()`` is asked; a ``datasets.Dataset`` counts by its own fingerprint, format and
    transform; all others, such as lists of rows or torch's ``Subset``, by what they hold (``contents_hash``).

    Raises:
        SettingsError: When the data has no length, or holds what cannot be read.

    Example:
        >>> data_fingerprint(train) == data_fingerprint(list(train)), data_fingerprint(train) == data_fingerprint(test)
        (True, False)
    """
    if not hasattr(dataset, "__len__"):
        raise SettingsError(
            f"{type(dataset).__name__} has no length; only data of fixed rows can be told to be the same. Give a "
            'map-style dataset, or fingerprint="any text that changes when the data does".'
        )
    return contents_hash(dataset)


def transform_fingerprint(collator: Any) -> str:
    """32 hexadecimal digits for what makes rows into a batch; None is a transform too.

    Raises:
        SettingsError: When it holds what cannot be read.

    Example:
        >>> len(transform_fingerprint(collator))
        32
    """
    return contents_hash(collator)


def combined(*parts: str | Mapping[str, Any]) -> str:
    """A key of 32 hexadecimal digits for fingerprints and plain JSON values, in their order.

    Raises:
        SettingsError: When a part is no plain JSON value.

    Example:
        >>> combined("weights", {"layer": 3}) == combined("weights", {"layer": 3})
        True
        >>> combined("weights", {"layer": 3}) == combined("weights", {"layer": 4})
        False
    """
    try:
        text = json.dumps(parts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"A key is made of texts and plain JSON values, but {error}. Give numbers and texts."
        ) from error
    return xxhash.xxh3_128_hexdigest(text.encode())
