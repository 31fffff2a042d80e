"""Classes never seen, named by their attributes: which method, how well, and what calibration makes of it."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("zero-shot")
