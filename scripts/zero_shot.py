"""Classes never seen, named by their attributes: which method, how well, and what calibration makes of it."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.zero_shot import main

if __name__ == "__main__":
    sentences_for_errors(main)
