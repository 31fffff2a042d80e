"""The flags of data that is read as a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import DataArguments
from hf_transfer_kit.data.raw_inputs import InputSizes, RawInputs
from hf_transfer_kit.data.streamed import StreamedData, load_stream, stream_inputs
from hf_transfer_kit.errors import SettingsError


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
