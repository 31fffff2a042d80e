"""Every network of the sweep: its names by library, and how one is built small with inputs that it takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import timm
import torch
import torchvision
import transformers
from torch import nn
from transformers.models.auto import modeling_auto

from hf_transfer_kit.backbones.transformers_inputs import inputs_of_transformers
from sweep.own import OWN

LIBRARIES = ("own", "torchvision", "timm", "transformers")
_SIDES = (32, 64, 96, 128, 224, 256, 288, 384)
_SMALL = {
    "vocab_size": 99,
    "hidden_dim": 16,
    "embed_dim": 16,
    "n_words": 99,
    "emb_dim": 32,
    "num_labels": 3,
    "image_size": 32,
    "patch_size": 8,
    "max_position_embeddings": 64,
}
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd", "embedding_size", "intermediate_size", "d_ff", "ffn_dim")
_HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "encoder_attention_heads", "decoder_attention_heads")
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_DEPTH = 2
_PLACES = {"image": 3, "video": 4, "audio": 5}
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id")


def names(library: str) -> list[str]:
    """Names of one library's networks, in a fixed order."""
    if library == "own":
        return sorted(OWN)
    if library == "torchvision":
        return torchvision.models.list_models(module=torchvision.models)
    if library == "timm":
        return [module for module in timm.list_modules() if timm.list_models(module=module)]
    found = set()
    for mapping_name in dir(modeling_auto):
        if mapping_name == "MODEL_MAPPING" or (
            mapping_name.startswith("MODEL_FOR_") and mapping_name.endswith("_MAPPING")
        ):
            for classes in getattr(modeling_auto, mapping_name)._model_mapping.values():
                found.update([classes] if isinstance(classes, str) else classes)
    return sorted(found)


def build(library: str, name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A small random network in evaluation mode and four rows of inputs; raises whatever stops it being built."""
    torch.manual_seed(0)
    if library == "own":
        model, inputs = OWN[name]()
        return model.eval(), inputs
    if library == "torchvision":
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return _fed(lambda: torchvision.models.get_model(name, weights=None, num_classes=5, **options))
    if library == "timm":
        cheapest = _smallest(name)
        return _fed(lambda: timm.create_model(cheapest, pretrained=False, num_classes=5), _timm_side(cheapest))
    return _transformers(name)


def run(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Any:
    """One forward; a single input goes in by position where the forward does not know its name."""
    parameters = inspect.signature(model.forward).parameters
    return model(**inputs) if set(inputs) <= set(parameters) else model(*inputs.values())


@functools.cache
def _smallest(module: str) -> str:
    return min(timm.list_models(module=module), key=_cost)


def _cost(name: str) -> tuple[float, str]:
    with torch.device("meta"):
        try:
            return sum(p.numel() for p in timm.create_model(name, pretrained=False).parameters()), name
        except Exception:
            return float("inf"), name


def _timm_side(name: str) -> tuple[int, ...]:
    config = timm.get_pretrained_cfg(name)
    return (config.input_size[-1],) if config is not None and config.fixed_input_size else (*_SIDES[1:],)


def _fed(make: Callable[[], nn.Module], sides: tuple[int, ...] = _SIDES[1:]) -> tuple[nn.Module, dict]:
    model, error = make().eval(), None
    for side in sides:
        inputs = {"pixel_values": torch.randn(4, 3, side, side)}
        try:
            with torch.no_grad():
                run(model, inputs)
            return model, inputs
        except Exception as failure:
            error = failure
    raise error or RuntimeError("no input size was tried")


def shrink(config: Any, *, anew: bool) -> Any:
    """The config with every width, depth, head count and vocabulary small, sub-configs included: made anew, so that
    what it derives follows, or changed in place."""
    found = {key: _small(key, value, anew=anew) for key, value in vars(config).items()}
    changes = {key: small for key, small in found.items() if small is not None}
    if anew:
        return type(config)(**changes)
    for key, value in changes.items():
        setattr(config, key, value)
    return config


def _small(key: str, value: Any, *, anew: bool) -> Any:
    """The smaller value of one setting; None where it stays."""
    if isinstance(value, transformers.PreTrainedConfig):
        return shrink(value, anew=anew)
    if key in ("layer_types", "layers_block_type") and isinstance(value, (list, tuple)):
        kinds = list(dict.fromkeys(value))
        return (kinds + kinds)[:_DEPTH]
    if key == "pad_token_id" and value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    if key in _WIDTHS:
        small = 32
    elif key in _DEPTHS:
        small = _DEPTH
    elif key in _HEADS or key == "num_key_value_heads":
        small = 2
    elif key.endswith(("_token_id", "_token_index")) and (places := [i for kind, i in _PLACES.items() if kind in key]):
        return places[0] if value > 98 else None
    elif key in _TOKENS:
        small = {"pad_token_id": 0, "bos_token_id": 1}.get(key, 2)
    else:
        small = _SMALL.get(key)
    return small if small is not None and value > small else None


def _transformers(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    try:
        return _made(getattr(transformers, name), anew=True)
    except Exception:
        return _made(getattr(transformers, name), anew=False)


def _made(kind: type, *, anew: bool) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    config = _fitting(shrink(kind.config_class(), anew=anew))
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(config).parameters())
    if size > 60_000_000:
        raise ValueError(f"still too large after shrinking: {size:,} parameters")
    model = kind(config).eval()
    inputs = _inputs(model)
    if hasattr(model, "get_image_features") or hasattr(model, "get_audio_features"):
        return model, _reaching_most(model, [inputs, *inputs_of_transformers(model)])
    with torch.no_grad():
        run(model, inputs)
    return model, inputs


def _reaching_most(model: nn.Module, candidates: Iterable[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Of what the network accepts, the inputs for which most of its modules run: words alone need no eyes."""
    best, most, error = None, 0, None
    for inputs in candidates:
        ran: set[int] = set()
        hooks = [m.register_forward_hook(lambda module, *_, ran=ran: ran.add(id(module))) for m in model.modules()]
        try:
            with torch.no_grad():
                run(model, inputs)
        except Exception as failure:
            error = error or failure
            continue
        finally:
            for hook in hooks:
                hook.remove()
        if len(ran) > most:
            best, most = inputs, len(ran)
    if best is None:
        raise error or RuntimeError("no inputs were tried")
    rows = {name: value.repeat(4, *[1] * (value.dim() - 1)) for name, value in best.items()}
    try:
        with torch.no_grad():
            run(model, rows)
    except Exception:
        return best
    return best if len(next(iter(best.values()))) == 4 else rows


def _fitting(config: Any) -> Any:
    """Settings that must follow a smaller width."""
    width = getattr(config, "hidden_size", None)
    if hasattr(config, "input_size") and isinstance(config.input_size, int) and config.input_size > 64:
        config.input_size = 32  # LayoutLMv3's pictures
    if hasattr(config, "coordinate_size") and hasattr(config, "shape_size"):
        config.coordinate_size, config.shape_size = width // 8, (width - 4 * (width // 8)) // 2
    if hasattr(config, "attention_types"):
        config.attention_types, config.attention_layers = [[["global", "local"], 1]], ["global", "local"]  # GPT-Neo
    if hasattr(config, "num_labels") and isinstance(vars(config).get("num_labels"), int):
        config.num_labels = 3
    return config


def _inputs(model: nn.Module) -> dict[str, torch.Tensor]:
    known, config = inspect.signature(model.forward).parameters, model.config
    parts = [config, *(value for value in vars(config).values() if isinstance(value, transformers.PreTrainedConfig))]
    side = next((size for part in parts if (size := getattr(part, "image_size", None))), 64)
    side = side if isinstance(side, int) else side[0]
    tokens = torch.arange(5, 29).reshape(4, 6)
    if isinstance(getattr(config, "eos_token_id", None), int):
        tokens[:, -1] = config.eos_token_id
    if "MultipleChoice" in type(model).__name__:
        tokens = tokens.unsqueeze(1).expand(4, 2, 6).contiguous()
    choices = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "bbox": torch.zeros(4, 6, 4, dtype=torch.long),
        "decoder_input_ids": tokens,
        "pixel_values": torch.randn(4, getattr(config, "num_channels", 3), side, side),
        "input_values": torch.randn(4, 1600),
        "input_features": torch.randn(4, getattr(config, "num_mel_bins", 80), 100),
    }
    if model.main_input_name != "input_ids":
        wanted = {model.main_input_name} | ({"input_ids", "attention_mask", "decoder_input_ids"} & set(known))
        if "input_ids" not in known:
            wanted.discard("attention_mask")
    else:
        wanted = {"input_ids", "attention_mask", "bbox", "decoder_input_ids", "pixel_values"}
    return {key: value for key, value in choices.items() if key in known and key in wanted}
