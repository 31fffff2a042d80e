"""What to transfer, and how: networks ranked for a dataset, and a plan for the best, before anything is trained."""

from hf_transfer_kit.commands.advise import main
from hf_transfer_kit.commands.edge.settings import sentences_for_errors

if __name__ == "__main__":
    sentences_for_errors(main)
