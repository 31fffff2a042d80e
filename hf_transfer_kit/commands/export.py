"""A finished model as an ONNX file, for onnxruntime and whatever else reads that format.

hf-transfer export outputs/transfer [--output model.onnx]

Before the file is kept, onnxruntime and the network are asked about the same rows and have to agree.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.words import PlainParser

_NAME = "model.onnx"


def main(argv: list[str] | None = None) -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL_FOLDER", help="Folder that a run has left, or a Hub name.")
    parser.add_argument("--output", help=f"File that ends in .onnx (default: {_NAME} in the folder, or here).")
    parser.add_argument("--overwrite", action="store_true", help="Replace that file where an export wrote it.")
    parser.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    given = parser.parse_args(argv)

    from hf_transfer_kit.predicting import export_onnx  # after the flags, so that help is at once

    stage("Writing and comparing the network")
    folder = Path(given.model).expanduser()
    output = given.output or (folder / _NAME if folder.is_dir() else _NAME)
    made = export_onnx(given.model, output, overwrite=given.overwrite, revision=given.revision)
    print(
        f"The network is in {made.path}; it reads {', '.join(made.inputs)}. Logits differ from the network's by at "
        f"most {made.difference:.2g}, the largest being {made.largest:.3g}."
    )
