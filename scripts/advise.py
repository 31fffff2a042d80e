"""What to transfer, and how: networks ranked for a dataset, and a plan for the best, before it is trained."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("advise")
