"""Measure, compare, transfer: which way to carry a pretrained network to your data, and whether it helps at all."""

from hf_transfer_kit.commands.main import run

if __name__ == "__main__":
    run("run")
