"""Several tasks on one trunk, beside each task alone: which way of sharing, what it gains, and whether it hurts."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("multitask")
