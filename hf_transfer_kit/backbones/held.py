"""A network that is held by a model of the kit: taken in with its weights, and its configuration read back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from hf_transfer_kit.backbones.adapters import adapter_settings
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.errors import ModelError, SettingsError


def held_config(config: PreTrainedConfig | Mapping[str, Any] | None) -> PreTrainedConfig | None:
    """A network's configuration, which stands as a dict in the file of the model that holds it.

    Raises:
        ModelError: When it is no configuration.
    """
    if config is None or isinstance(config, PreTrainedConfig):
        return config
    if not isinstance(config, Mapping) or config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(f"backbone_config={config!r:.60} is no configuration of a network: give model.config.")
    # Not AutoConfig.for_model: timm's configurations keep the classes under names that from_dict alone reads.
    return CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))


def without_place(settings: Any) -> Any:
    """A configuration's dict, also inside, without the places that networks were loaded from."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: without_place(value) for name, value in settings.items() if name != "_name_or_path"}


def refuse_near_settings(config: type[PreTrainedConfig], others: Mapping[str, Any]) -> None:
    """Refuses a setting that transformers would keep without a word though it is a slip of one of the config's own.

    Args:
        config: Whose.
        others: What its constructor has no name for.

    Raises:
        SettingsError: With the name that is near.
    """
    own = [name for name in inspect.signature(config.__init__).parameters if name not in ("self", "kwargs")]
    for name in others:
        near = get_close_matches(name, own, n=1, cutoff=0.8)
        if near and not hasattr(PreTrainedConfig, name) and name not in PreTrainedConfig().to_dict():
            raise SettingsError(f"{config.__name__} has no setting {name!r}. Did you mean {near[0]!r}?")


def network_to_hold(network: nn.Module, beside: str) -> tuple[PreTrainedModel, Mapping[str, Mapping[str, Any]] | None]:
    """The network without wrappers, and what peft put inside it, as ``adapter_settings`` gives it.

    Args:
        network: Any.
        beside: What is saved with it, for the sentence.

    Raises:
        ModelError: When it is no model of transformers, or has an adapter that cannot be held.
    """
    inner, _ = plain_model(network)
    adapters = adapter_settings(inner)  # first: it knows what peft wraps around a network
    if not isinstance(inner, PreTrainedModel):
        raise ModelError(
            f"{type(inner).__name__} is no model of transformers, so it cannot be saved with {beside}. Load timm's "
            "networks with load_model('timm/NAME')."
        )
    return inner, adapters


def keep_weights(network: nn.Module) -> None:
    """Marks all of a network as initialised, so that ``post_init`` of what holds it leaves its weights alone."""
    for module in network.modules():
        vars(module)["_is_hf_initialized"] = True
