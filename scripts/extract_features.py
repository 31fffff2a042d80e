"""Features of a dataset, computed once and written to files."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.extract_features import main

if __name__ == "__main__":
    sentences_for_errors(main)
