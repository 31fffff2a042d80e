"""Several tasks on one trunk, beside each task alone: which way of sharing, what it gains, and whether it hurts."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.multitask import main

if __name__ == "__main__":
    sentences_for_errors(main)
