"""The flags of data that is read as a stream."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import DataArguments
from hf_transfer_kit.commands.flags.run_arguments import KitTrainingArguments
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.held_rows import hold_rows
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.data.raw_inputs import InputSizes, RawInputs
from hf_transfer_kit.data.streamed import StreamedData, load_stream, stream_inputs
from hf_transfer_kit.data.training_stream import TrainingStream
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_int
from hf_transfer_kit.selection import Strategy


@dataclass
class StreamArguments:
    """Data that no disk holds"""

    streaming: bool = field(
        default=False, metadata={"help": "Read rows one after the other, in the splits that there are; none is kept."}
    )
    class_names: list[str] = field(
        default_factory=list,
        metadata={"help": "With --streaming: all classes in their order, where the label column does not name them."},
    )

    def __post_init__(self) -> None:
        if self.class_names and not self.streaming:
            raise SettingsError(
                "--class_names does nothing without --streaming: classes of loaded data are found in its rows. Leave "
                "it out."
            )

    def load(self, data_args: DataArguments) -> StreamedData:
        """The streams that ``data_args`` names."""
        stage("Opening the data")
        if data_args.dataset is None:
            raise SettingsError("--dataset is missing: give a Hub name, a folder or file, digits or digits_m.")
        return load_stream(
            data_args.dataset,
            config_name=data_args.dataset_config,
            input_column=data_args.input_column,
            label_column=data_args.label_column,
            class_names=self.class_names,
        )

    def inputs(self, data_args: DataArguments, data: StreamedData, processor: Any) -> RawInputs:
        """What makes the inputs of their rows."""
        sizes = InputSizes(data_args.image_size, data_args.max_length, data_args.max_seconds)
        return stream_inputs(data, processor, sizes)


@dataclass
class TrainingStreamArguments(StreamArguments):
    """The same, to train on"""

    held_rows: int = field(
        default=1000,
        metadata={
            "help": "With --streaming: validation rows that are held in memory, and test rows: the first of their "
            "split, or where there is none the first of train, which are not trained on."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={"help": "With --streaming: raw rows held in memory, of which the next to train on is drawn."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shuffle_buffer", "held_rows"):
            check_int("--streaming", name, getattr(self, name), low=1)

    def check(self, strategy: Strategy, task_type: str, args: KitTrainingArguments, *, advised: bool) -> None:
        """Refuses what takes all training rows to know, before any row is read.

        Raises:
            SettingsError: With what it is, and what to do.
        """
        if task_type != CLASSIFICATION:
            raise SettingsError(f"--streaming reads rows with classes, and --task_type is {task_type}. Leave one out.")
        if args.max_steps <= 0:
            raise SettingsError("--streaming has no end that epochs could be counted by: give --max_steps.")
        if advised or strategy.searched:
            what = "--strategy auto measures" if advised else f"{strategy.name}:auto searches on"
            raise SettingsError(
                f"{what} rows again and again, which a stream does not keep. Name the strategy with its options, or "
                "measure on a part of the data, loaded."
            )

    def hold(self, data_args: DataArguments, args: KitTrainingArguments) -> HeldStream:
        """The stream that ``data_args`` names, and the rows of it that are held."""
        streams = self.load(data_args)
        sizes = dict.fromkeys(("validation", "test"), self.held_rows)
        stage("Reading the rows that are held")
        loaded, held, notes = hold_rows(streams, sizes, skip=data_args.skip_bad_rows)
        trained_on = args.max_steps * cast(int, args.batch_size)
        notes = (f"The rows to train on are a stream, of which {trained_on:,} are drawn.", *notes)
        return HeldStream(loaded, streams, held, notes, self)


@dataclass(frozen=True)
class HeldStream:
    """A stream to train on, and the rows of it that are held.

    Args:
        loaded: These rows.
        streams: All splits.
        held: Rows at the beginning of ``train`` that are not trained on.
        notes: What is to be said of it, as sentences.
        flags: As typed.
    """

    loaded: LoadedData
    streams: StreamedData
    held: int
    notes: tuple[str, ...]
    flags: TrainingStreamArguments

    def prepare(self, data_args: DataArguments, processor: Any, *, seed: int) -> PreparedData:
        """Model-ready splits, ``train`` being a ``TrainingStream``."""
        self.flags.inputs(data_args, self.streams, processor)  # refuses sizes that only loaded rows would tell
        prepared = data_args.prepare(self.loaded, processor)
        describe = {name: value for name, value in prepared.describe.items() if name not in _OF_ALL_ROWS}
        stream = TrainingStream(
            self.streams,
            prepared.raw_inputs,
            held=self.held,
            buffer=self.flags.shuffle_buffer,
            seed=seed,
            skip=data_args.skip_bad_rows,
            change=cast(Any, prepared.train).change,
            sample=prepared.train,
        )
        return replace(prepared, train=cast(Any, stream), describe={**describe, "streamed": True})


_OF_ALL_ROWS = ("longest_text", "decoded_once")
