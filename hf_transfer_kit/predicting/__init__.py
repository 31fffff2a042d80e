"""A saved model asked about new rows, as it was measured."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.predicting.answers import (
        ClassAnswer,
        LabelsAnswer,
        NumberAnswer,
        TextAnswer,
        WordsAnswer,
    )
    from hf_transfer_kit.predicting.demo import demo_page, open_page
    from hf_transfer_kit.predicting.exporting import OnnxExport, export_onnx
    from hf_transfer_kit.predicting.given_rows import typed_inputs
    from hf_transfer_kit.predicting.predictions import Predictions, SkippedRow, check_output_file
    from hf_transfer_kit.predicting.transferred import TransferredModel, load_transferred

__all__ = [
    "ClassAnswer",
    "LabelsAnswer",
    "NumberAnswer",
    "OnnxExport",
    "Predictions",
    "SkippedRow",
    "TextAnswer",
    "TransferredModel",
    "WordsAnswer",
    "check_output_file",
    "demo_page",
    "export_onnx",
    "load_transferred",
    "open_page",
    "typed_inputs",
]

load_when_used(__name__)
