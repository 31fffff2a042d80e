"""Arguments of Trainer, and of its models methods and layers, under the names that the installed transformers has."""

import pytest
import torch

from hf_transfer_kit.compat import LATE_ARGUMENTS, argument_name

CHECKPOINTING = argument_name("activation_checkpointing")


def named(settings):
    """The arguments under this version's names; skips the test where there is no such argument."""
    names = {name: argument_name(name) if name in LATE_ARGUMENTS else name for name in settings}
    if missing := [name for name, known in names.items() if known is None]:
        pytest.skip(f"this transformers has no {', '.join(missing)}")
    return {names[name]: value for name, value in settings.items()}


def enable_checkpointing(model, how=None):
    getattr(model, f"{CHECKPOINTING}_enable")(how)


def vit_layers():
    """Where a ViT's layers lie in its base model, which is also the name of their groups."""
    from transformers import ViTConfig, ViTModel

    with torch.device("meta"):
        return "layers" if hasattr(ViTModel(ViTConfig(num_hidden_layers=1)), "layers") else "encoder.layer"


def is_checkpointing(model):
    return getattr(model, f"is_{CHECKPOINTING}")
