"""How many layers to freeze: every depth tried, from one pass through the network, at a fraction of the cost."""

from hf_transfer_kit.commands.edge.settings import sentences_for_errors
from hf_transfer_kit.commands.search_depth import main

if __name__ == "__main__":
    sentences_for_errors(main)
