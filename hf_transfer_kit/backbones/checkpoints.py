"""A checkpoint's configuration, weights and precision, from the Hub, a folder, timm's or torchvision's names."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.backbones.fresh_networks import FRESH_NETWORKS
from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.torchvision_networks import TorchvisionConfig, torchvision_config, torchvision_weights
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.near_names import did_you_mean

DTYPES = ("auto", "float32", "bfloat16", "float16")
"""What weights may be loaded as; auto is what the checkpoint was stored in."""
_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
TORCHVISION = "torchvision/"


def checkpoint_config(
    name: str, *, pretrained: bool = True, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        ModelError: When there is none, it cannot be read, or there are no safe weights beside it.
        SettingsError: When a folder is given with a revision.

    Example:
        >>> model.save_pretrained("checkpoint")
        >>> checkpoint_config("checkpoint").model_type
        'resnet'
    """
    path = Path(name)
    looks_local = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    is_folder = os.path.isdir(name)  # where Path.is_dir raises, of a name that is too long, it says no
    if looks_local and not os.path.exists(name):
        raise ModelError(f"There is no model at {name}: the path does not exist.")
    if os.path.isfile(name):
        raise ModelError(f"{name} is a file; give the folder that save_pretrained has written.")
    if is_folder and not (path / "config.json").is_file():
        raise ModelError(f"The folder {name} holds no config.json, so it is no saved model.")
    if is_folder and pretrained and not any(path.glob("*.safetensors")):
        raise ModelError(
            f"The folder {name} holds no .safetensors file. Weights in pickle form are not loaded; save them with "
            "save_pretrained, or start from random weights with pretrained=False."
        )
    if name.startswith("timm/") and not pretrained:
        return transformers.TimmWrapperConfig(architecture=name.removeprefix("timm/").split(".")[0], do_pooling=True)
    if name.startswith(TORCHVISION):
        return torchvision_config(name.removeprefix(TORCHVISION), pretrained=pretrained)
    if is_folder and revision is not None:
        raise SettingsError(
            f"The folder {name} has no revisions, but revision={revision!r} was given. Leave it out, or name a "
            "repository on the Hub."
        )
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)
    except Exception as error:  # each class of configurations says in its own way what it does not take
        if is_folder:
            raise ModelError(
                f"The config.json of {name} cannot be read: {first_line(error)}. Give a folder that save_pretrained "
                "has written."
            ) from error
        if not isinstance(error, (OSError, ValueError, HfHubHTTPError, HFValidationError)):
            raise
        raise ModelError(
            f"{name} is no local folder and could not be loaded from the Hub ({first_line(error)}). Check the name, "
            f"the connection, and for a private model the login.{did_you_mean(name, FRESH_NETWORKS)}"
        ) from error


def loaded_weights(
    auto: Any,
    name: str,
    config: PreTrainedConfig,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    trained_head: bool = False,
) -> PreTrainedModel:
    """A checkpoint as a class of transformers' Auto classes; only a classifier's head may lack weights.

    Raises:
        ModelError: When the weights cannot be loaded, or do not fit the architecture.
    """
    if name.startswith(TORCHVISION):
        network: nn.Module = torchvision_weights(cast(TorchvisionConfig, config))
        network.to(torch_dtype(dtype) or torch.float32)
        return cast(PreTrainedModel, network)
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # the report of missing keys is judged below
    progress_bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model, info = auto.from_pretrained(
            name,
            config=config,
            trust_remote_code=trust_remote_code,
            revision=revision,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch_dtype(dtype) or "auto",
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError, HfHubHTTPError) as error:
        raise ModelError(
            f"The weights of {name} cannot be loaded: {first_line(error)}. If the files are damaged, copy or download "
            "them anew."
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if progress_bars:
            transformers.utils.logging.enable_progress_bar()
    _draw_what_is_empty(model, auto, config, info["missing_keys"], trust_remote_code=trust_remote_code)
    head = tuple(find_head(model)) if auto is not AutoModel else ()
    cast(Any, model)._drawn_parts = _drawn(model, {key for key in info["missing_keys"] if not key.startswith(head)})
    missing = [key for key in info["missing_keys"] if not key.startswith(head) and not _is_optional(key)]
    if missing:
        raise ModelError(
            f"The weights of {name} do not fit its architecture {type(model).__name__}: {len(missing)} are missing, "
            f"such as {', '.join(sorted(missing)[:3])}. They would be random; check the checkpoint."
        )
    if trained_head and (fresh := sorted(key for key in info["missing_keys"] if key.startswith(head))):
        raise ModelError(
            f"{name} has no trained head: {', '.join(fresh[:3])} would be random. Give a checkpoint that was saved as "
            "a classifier."
        )
    return model


def _draw_what_is_empty(
    model: PreTrainedModel, auto: Any, config: PreTrainedConfig, missing: Collection[str], *, trust_remote_code: bool
) -> None:
    """Gives the network's own parameters that the checkpoint lacks the values that its class begins with.

    transformers leaves them as the memory was where a class sets them when it is made and not in ``_init_weights``:
    weights of layers, masks.
    """
    owners = {key: model.get_submodule(key.rpartition(".")[0]) for key in missing}
    empty = [key for key, owner in owners.items() if not type(owner).__module__.startswith("torch.nn")]
    if not empty:
        return
    begun = auto.from_config(copy.deepcopy(config), trust_remote_code=trust_remote_code).state_dict()
    with torch.no_grad():
        for key in empty:
            own = model.get_parameter(key)
            own.copy_(begun[key].to(own))


def drawn_parts(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers before the head that the checkpoint had no weights of: they began as they were drawn."""
    inner, prefix = plain_model(model)
    there = {name for name, _ in inner.named_modules()}
    return tuple(f"{prefix}{name}" for name in getattr(inner, "_drawn_parts", ()) if name in there)


def _drawn(model: nn.Module, missing: Collection[str]) -> tuple[str, ...]:
    """Layers of a pooler without weights."""
    return tuple(
        path for path, part in model.named_modules()
        if "pooler" in path and any(f"{path}.{key}" in missing for key, _ in part.named_parameters(recurse=False))
    )  # fmt: skip


def _is_optional(key: str) -> bool:
    """Weights a bare encoder may lack although its classifier has them: a pooler, masks of pre-training."""
    return any(part in key for part in ("pooler", "masked_spec_embed", "mask_token", "position_ids", "layer_weights"))


def stored_dtype(name_or_path: str | Path, *, trust_remote_code: bool = False, revision: str | None = None) -> str:
    """The precision that most of a checkpoint's tensors are stored in: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    It is read off the weights where they are on this machine, else off the config.

    Example:
        >>> model.half().save_pretrained("checkpoint")
        >>> stored_dtype("checkpoint")
        'float16'
    """
    name = str(name_or_path)
    config = checkpoint_config(name, pretrained=True, trust_remote_code=trust_remote_code, revision=revision)
    found: Counter[str] = Counter()
    if (file := _weights_here(name, revision)) is not None:
        try:
            with safe_open(file, framework="pt") as tensors:
                found = Counter(_STORED.get(tensors.get_slice(key).get_dtype(), "") for key in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"The weights of {name} cannot be read: {first_line(error)}. If the file is damaged, copy or download "
                "it anew."
            ) from error
    named = found.most_common(1)[0][0] if found else str(getattr(config, "dtype", None)).removeprefix("torch.")
    return named if named in DTYPES and named != "auto" else "float32"


def _weights_here(name: str, revision: str | None) -> Path | None:
    """A file of a checkpoint's weights, of a folder or of the Hub's cache."""
    if os.path.isdir(name):
        return next(iter(sorted(Path(name).glob("*.safetensors"))), None)
    try:
        cached = try_to_load_from_cache(name, "model.safetensors", revision=revision)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def torch_dtype(dtype: str) -> torch.dtype | None:
    """Of a name of ``DTYPES``; None for the stored one."""
    return None if dtype == "auto" else getattr(torch, dtype)


def of_own_precision(model: PreTrainedModel) -> PreTrainedModel:
    """The same, made to read images and sounds, which are prepared in float32, in the precision of its weights."""
    if model.dtype != torch.float32:
        model.register_forward_pre_hook(_inputs_of_own_precision, with_kwargs=True)
    return model


def _inputs_of_own_precision(model: PreTrainedModel, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def converted(name: str, value: Any) -> Any:
        is_input = isinstance(value, torch.Tensor) and value.is_floating_point() and "label" not in name
        return value.to(model.dtype) if is_input else value

    return tuple(converted("", value) for value in args), {
        name: converted(name, value) for name, value in kwargs.items()
    }
