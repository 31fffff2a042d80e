"""One strategy on one dataset."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.finetune import main

if __name__ == "__main__":
    sentences_for_errors(main)
