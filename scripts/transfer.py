"""Measure, compare, transfer: which way to carry a pretrained network to your data, and whether it helps at all."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.transfer import main

if __name__ == "__main__":
    sentences_for_errors(main)
