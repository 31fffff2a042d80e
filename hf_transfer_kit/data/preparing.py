"""Loaded splits as what the Trainer takes: datasets of model-ready rows and a collator."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.data.class_balance import ClassBalance
from hf_transfer_kit.data.collating import NOT_LABELLED, ImageCollator, TextCollator
from hf_transfer_kit.data.decoding import undecoded
from hf_transfer_kit.data.images import ImageGeometry, image_augmentation, image_geometry
from hf_transfer_kit.data.label_kinds import CLASSIFICATION, TOKEN_CLASSIFICATION
from hf_transfer_kit.data.labels import class_values
from hf_transfer_kit.data.loading import LoadedData
from hf_transfer_kit.data.memory import Rows, held_or_lazy
from hf_transfer_kit.data.raw_inputs import (
    InputSizes,
    RawInputs,
    SoundInputs,
    check_sizes,
    check_tokenizer,
    encoded,
    token_rows,
)
from hf_transfer_kit.data.sounds import beginnings, decoded_waves, samples_of, usual_longest
from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.values import Collator, KnownCollator, LabelledRows, MapRows
from hf_transfer_kit.values.windows import Window, with_window

logger = get_logger(__name__)

SPLITS = ("train", "validation", "test")
"""The splits of loaded and of prepared data."""
GIBIBYTE = 2**30


@dataclass(frozen=True)
class PreparedData:
    """Splits ready for the Trainer.

    Args:
        train: Map-style dataset of rows, without ``labels`` where not every row has one; augmented where asked for.
        validation: The same, never augmented.
        test: The same, never augmented.
        collator: List of rows -> batch of tensors.
        modality: ``"image"``, ``"text"`` or ``"audio"``.
        label_names: Names of the classes.
        describe: What was done, for reports: image size, memory in bytes, whether it is decoded once.
        sizes: How large inputs were made.
        task_type: What the labels are.
        processor: What makes these inputs of raw rows, sizes included: to be saved beside the model.
        balance: How classes of different sizes are treated in training and in choosing.
        metric: What a task that is no classification is chosen and judged by; None: its type's own.
    """

    train: LabelledRows
    validation: LabelledRows
    test: LabelledRows
    collator: Collator
    modality: str
    label_names: tuple[str, ...]
    describe: Mapping[str, Any] = field(default_factory=dict)
    sizes: InputSizes = field(default_factory=InputSizes)
    task_type: str = CLASSIFICATION
    processor: Any = None
    balance: ClassBalance = field(default_factory=ClassBalance)
    metric: str | None = None

    @property
    def raw_inputs(self) -> RawInputs:
        """What makes the same inputs of raw rows."""
        return RawInputs(self.modality, self.processor, self.sizes)

    @property
    def reads(self) -> str:
        """What the network is given: sounds may have become pictures."""
        return self.raw_inputs.reads

    def relabelled(self, data: LoadedData) -> PreparedData:
        """The same inputs with the labels of ``data``, which has the same rows (``LoadedData.relabelled``).

        Raises:
            DataError: When it has other rows, or a class for each word.
        """
        if data.task_type == TOKEN_CLASSIFICATION:
            raise DataError(f"{data.label_column!r} has a class for each word, which needs a preparation of its own.")
        labels = {split: _labels(data, split) for split in SPLITS}
        rows: dict[str, Any] = {}
        for split in SPLITS:
            old, own = getattr(self, split), labels[split]
            if own is not None and len(own) != len(old):
                raise DataError(f"{data.name} has {len(own)} rows in {split}, but {len(old)} were prepared.")
            rows[split] = Rows(old.values, own, old.name, change=old.change)
        return replace(self, **rows, label_names=data.label_names, task_type=data.task_type)


class _Inputs(NamedTuple):
    """Inputs of each split, what makes batches of them, their key in a row, words for reports, and their sizes.

    Also the processor that makes them of raw rows, and of words the word that each token begins, or None.
    """

    splits: Mapping[str, MapRows]
    collator: KnownCollator
    name: str | None
    describe: Mapping[str, Any]
    sizes: InputSizes
    processor: Any
    words: Mapping[str, Sequence[Sequence[int | None]]] | None = None


@checked_arguments(own_words_first=True)
def prepare_data(
    data: LoadedData,
    processor: Any,
    *,
    augment: bool | str = False,
    image_size: int | None = None,
    max_length: int = 128,
    max_seconds: float | None = None,
    channels: int | None = None,
    memory_limit: int = GIBIBYTE,
    like: PreparedData | None = None,
) -> PreparedData:
    """Turns every row into what the model reads, once where it fits into memory.

    Images become what the processor would make of them, up to rounding: decoded, resized and cropped once to uint8,
    normalised per batch. Texts are tokenized once and padded per batch. Sounds become waves at the extractor's rate,
    or, with an image processor, log-mel pictures.

    Args:
        data: Loaded splits.
        processor: The checkpoint's image processor, tokenizer or feature extractor.
        augment: Random crops and mirror images of training pictures; ``"no_flip"`` leaves mirroring out.
        image_size: Another side of the pictures in pixels, 8 to 8192.
        max_length: Longest text in tokens; longer ones are cut.
        max_seconds: Longest sound in seconds; None takes the length that 99 % of them keep within, at most 10, and of
            sounds with transcripts that of the longest to train on; how many are cut is told. An extractor that makes
            windows of one length (Whisper's 30 seconds) makes them of as many whole seconds as these sounds need:
            ``fit_window(model, prepared.processor)`` cuts the network to them.
        channels: 1 makes pictures grey, 3 leaves their colours; None is the processor's.
        memory_limit: Bytes that decoded images of one split may take; beyond, rows are decoded when asked for.
        like: The source that this target goes with, prepared before with the same processor: inputs get the sizes of
            its inputs, so that ``image_size``, ``max_length``, ``max_seconds`` and ``channels`` need not be given.

    Raises:
        DataError: When the processor does not fit the data, or ``like`` holds another kind of inputs.
        SettingsError: When a size is out of range or of another kind of inputs, ``augment`` is unknown or asked for
            data without pictures, or when ``like`` had other sizes than those given, or another processor.

    Example:
        >>> prepared = prepare_data(loaded, processor)
        >>> batch = prepared.collator([prepared.train[0], prepared.train[1]])
        >>> batch["pixel_values"].shape
        torch.Size([2, 3, 32, 32])
    """
    if augment not in (False, True, "no_flip"):
        raise SettingsError(f"augment={augment!r} is unknown; choose True, False or 'no_flip'.")
    if augment and data.modality != "image":
        raise SettingsError(f"Augmentation is for images, but {data.name} holds {data.modality}. Leave --augment out.")
    makers = {"image": _images, "text": _texts, "audio": _sounds}
    sizes = InputSizes(image_size, max_length, max_seconds, channels)
    check_sizes(sizes, data.name, data.modality, processor)
    if like is not None:
        sizes = _sizes_like(like, sizes, data)
    inputs = makers[data.modality](data, processor, sizes, memory_limit)
    if like is not None and inputs.collator.fingerprint() != cast(KnownCollator, like.collator).fingerprint():
        raise SettingsError(
            f"{data.name} must be prepared like its source, but the source had another processor. Give both the same."
        )
    change = None
    if augment:
        change = image_augmentation(cast(ImageCollator, inputs.collator).geometry.size, flip=augment is True)
    rows: dict[str, Any] = {
        split: Rows(
            inputs.splits[split],
            _labels(data, split, inputs.words),
            inputs.name,
            change=change if split == "train" else None,
        )
        for split in SPLITS
    }
    return PreparedData(
        **rows,
        collator=inputs.collator,
        modality=data.modality,
        label_names=data.label_names,
        describe={**inputs.describe, "augmented": augment},
        sizes=inputs.sizes,
        task_type=data.task_type,
        processor=inputs.processor,
    )


def raw_rows(data: LoadedData, split: str) -> Sequence[Any]:
    """The inputs of a split's rows as they are stored: what ``RawInputs`` takes.

    Example:
        >>> raw_rows(load_data(csv_file), "test")[0]
        'a sentence of few words w0'
    """
    rows = getattr(data, split)
    if data.modality != "text":
        return undecoded(rows, data.input_columns[0], data.modality)
    columns = [list(rows[column]) for column in data.input_columns]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _labels(
    data: LoadedData, split: str, words: Mapping[str, Sequence[Sequence[int | None]]] | None = None
) -> np.ndarray | list[Any] | None:
    """Label of each row of a split; None where not every row has one."""
    rows = getattr(data, split)
    if split not in data.labelled_splits:
        return None
    if data.task_type == CLASSIFICATION:
        return class_values(rows, data.known_label_column)
    labels = rows[data.label_column]
    if data.task_type == "regression":
        return np.asarray(labels, dtype=np.float64)
    if words is None:
        return list(labels)
    return [
        [NOT_LABELLED if word is None else classes[word] for word in row]
        for classes, row in zip(labels, words[split], strict=True)
    ]


def _first_pieces(words: Sequence[int | None]) -> list[int | None]:
    """The word of each token that is its first piece, None for the others and for special tokens."""
    return [word if word != before else None for before, word in zip([None, *words], words, strict=False)]


def _sizes_like(like: PreparedData, given: InputSizes, data: LoadedData) -> InputSizes:
    """The sizes of ``like``, which none that is given may contradict."""
    if like.modality != data.modality:
        raise DataError(
            f"{data.name} holds {data.modality}, but what it must be prepared like holds {like.modality}. Both domains "
            "need inputs of one kind."
        )
    for size in fields(InputSizes):
        value, theirs = getattr(given, size.name), getattr(like.sizes, size.name)
        if value not in (size.default, theirs):
            raise SettingsError(
                f"{size.name}={value} was given, but what {data.name} must be prepared like has {size.name}={theirs}. "
                f"Leave {size.name} out."
            )
    return like.sizes


def _images(data: LoadedData, processor: Any, sizes: InputSizes, memory_limit: int) -> _Inputs:
    geometry = image_geometry(processor, image_size=sizes.image_size, channels=sizes.channels)
    inputs = {
        split: held_or_lazy(
            raw_rows(data, split),
            geometry.decode,
            row_bytes=geometry.bytes_per_image,
            memory_limit=memory_limit,
        )
        for split in SPLITS
    }
    held = all(isinstance(values, torch.Tensor) for values in inputs.values())
    describe = {"image_size": list(geometry.size), "decoded_once": held}
    return _Inputs(inputs, ImageCollator(geometry), "pixel_values", describe, sizes, _of_geometry(processor, geometry))


def _of_geometry(processor: Any, geometry: ImageGeometry) -> Any:
    """The processor that makes pictures of this geometry."""
    if geometry.through is not None:
        return geometry.through
    sized = copy.deepcopy(processor)
    size = (geometry.channels, *geometry.size)
    sized.data_config = {**sized.data_config, "input_size": size, "mean": geometry.mean, "std": geometry.std}
    return sized


def _texts(data: LoadedData, tokenizer: Any, sizes: InputSizes, memory_limit: int) -> _Inputs:
    check_tokenizer(tokenizer, sizes, data.name, texts=len(data.input_columns))
    split_words = data.task_type == TOKEN_CLASSIFICATION
    if split_words and not getattr(tokenizer, "is_fast", False):
        raise DataError(
            f"{type(tokenizer).__name__} does not say which word a token is of, but {data.name} has a class for each "
            "word. Use a fast tokenizer (tokenizer.json)."
        )
    inputs, words = {}, {}
    for split in SPLITS:
        texts = raw_rows(data, split)
        tokens = encoded(tokenizer, texts, sizes.max_length)
        inputs[split] = token_rows(tokens)
        if split_words:
            words[split] = [_first_pieces(tokens.word_ids(row)) for row in range(len(texts))]
    longest = max(len(row["input_ids"]) for row in inputs["train"])
    describe = {"longest_text": longest, "decoded_once": True}
    kept = copy.deepcopy(tokenizer)
    kept.model_max_length = sizes.max_length
    return _Inputs(inputs, TextCollator(tokenizer), None, describe, sizes, kept, words or None)


def _sounds(data: LoadedData, processor: Any, sizes: InputSizes, memory_limit: int) -> _Inputs:
    rate, longest = SoundInputs(processor, sizes).rate, sizes.max_seconds
    waves = {split: decoded_waves(raw_rows(data, split), rate, max_seconds=longest) for split in SPLITS}
    if longest is None:
        longest = _longest([len(wave) / rate for wave in waves["train"]], data.task_type, Window.of(processor))
        sizes = replace(sizes, max_seconds=longest)
    cut = 0
    for split in SPLITS:
        waves[split], count = beginnings(waves[split], samples_of(longest, rate))
        cut += count
    if cut:
        logger.warning(
            f"{cut:,} of the {sum(map(len, waves.values())):,} sounds of {data.name} are longer than {longest:.2f} "
            "seconds, and what comes later is not heard. A larger max_seconds keeps more of them."
        )
    processor = with_window(processor, longest)
    describe: dict[str, Any] = {"sampling_rate": rate, "max_seconds": round(longest, 3), "decoded_once": True}
    if window := Window.of(processor):
        describe["window_seconds"] = window.seconds
    sounds = SoundInputs(processor, sizes)
    inputs = {split: sounds.values(waves[split]) for split in SPLITS}
    if sounds.as_pictures:
        describe["image_size"] = list(sounds.geometry.size)
        processor = _of_geometry(processor, sounds.geometry)
    return _Inputs(inputs, sounds.collator, sounds.name, describe, sizes, processor)


def _longest(seconds: Sequence[float], task_type: str, window: Window | None) -> float:
    """The longest sound that is kept where nobody said it."""
    if task_type == "ctc":
        return max(seconds)  # what is cut off a sound still stands in its transcript
    usual = usual_longest(seconds)
    # A window of whole seconds has room for a little more.
    return float(min(math.ceil(usual), window.seconds)) if window else usual
