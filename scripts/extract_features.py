"""Features of a dataset, computed once and written to files."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("features")
