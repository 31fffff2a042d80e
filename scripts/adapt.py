"""A labelled source and a target without labels: which method, what it gains, and whether it is healthy."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("adapt")
