"""A labelled source and a target without labels: which method, what it gains, and whether it is healthy."""

from hf_transfer_kit.commands.adapt import main
from hf_transfer_kit.commands.edge.settings import sentences_for_errors

if __name__ == "__main__":
    sentences_for_errors(main)
