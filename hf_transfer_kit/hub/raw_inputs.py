"""What makes inputs of raw rows, saved beside a model and read back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import transformers
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer
from transformers.utils import cached_file

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data import InputSizes, RawInputs
from hf_transfer_kit.errors import ModelError, first_line

FILE = "inputs.json"
_PROCESSORS = {"image": AutoImageProcessor, "text": AutoTokenizer, "audio": AutoFeatureExtractor}


def save_inputs(folder: str | Path, inputs: RawInputs | Mapping[str, RawInputs]) -> None:
    """Writes the processor, and inputs.json with all that it does not keep itself: lengths, sizes, channels.

    Args:
        folder: Where the model lies; made when absent.
        inputs: ``PreparedData.raw_inputs`` of what the model was measured on; of several inputs by name, each in
            ``processors/NAME`` where they differ.

    Example:
        >>> from hf_transfer_kit.data import InputSizes, RawInputs
        >>> save_inputs("saved", RawInputs("image", processor, InputSizes()))
        >>> load_inputs("saved").modality
        'image'
    """
    folder = Path(folder)
    if isinstance(inputs, Mapping):
        alike = len({each.fingerprint() for each in inputs.values()}) == 1
        for name, each in list(inputs.items())[: 1 if alike else None]:
            save_inputs(folder if alike else folder / "processors" / name, each)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not hasattr(inputs.processor, "data_config"):  # timm's has no file of its own
        inputs.processor.save_pretrained(folder)
    (folder / FILE).write_text(json.dumps(inputs.settings(), indent=2, sort_keys=True) + "\n")


@checked_arguments()
def load_inputs(name_or_path: str | Path, *, input: str | None = None, revision: str | None = None) -> RawInputs:
    """What makes the batches that a saved model was measured on: ``model(**load_inputs(name)(["speech.wav"]))``.

    Args:
        name_or_path: The folder or Hub name of a model that one of the kit's scripts or ``save_results`` has saved.
        input: Of a network of several tasks the input; where all are read alike it does not matter.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: When there is no inputs.json, or its processor cannot be loaded.

    Example:
        >>> inputs = load_inputs(finished)
        >>> inputs.modality
        'image'
    """
    name = str(name_or_path)
    own = None if input is None else {"subfolder": f"processors/{input}", "revision": revision}
    where = {"subfolder": "", "revision": revision}
    try:
        if own and (found := cached_file(name, FILE, **own, _raise_exceptions_for_missing_entries=False)):
            where = own
        else:
            found = cached_file(name, FILE, **where)
        settings = json.loads(Path(cast(str, found)).read_text())
        sizes = InputSizes(**{field.name: settings[field.name] for field in dataclasses.fields(InputSizes)})
        if "timm" in settings:
            processor = transformers.TimmWrapperImageProcessor(pretrained_cfg=settings["timm"])
        else:
            processor = cast(Any, _PROCESSORS[settings["reads"]]).from_pretrained(name, **where)
        return RawInputs(settings["modality"], processor, sizes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name} keeps no inputs{f' of {input!r}' if input else ''} ({first_line(error)}): the kit's scripts write "
            f"{FILE} beside a model. Load its processor with load_processor, and prepare rows by hand."
        ) from error
