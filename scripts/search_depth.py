"""How many layers to freeze: every depth tried, from one pass through the network, at a fraction of the cost."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("depth")
