"""One strategy on one dataset."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("finetune")
