"""A transferred model asked about new files: what a recipe has left, read as it was measured."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("predict")
