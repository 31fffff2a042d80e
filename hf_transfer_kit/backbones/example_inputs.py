"""Inputs for one forward of any network: remembered, or made from what the network says of itself."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.structure import structure_of
from hf_transfer_kit.backbones.tracing import Trace, trace
from hf_transfer_kit.backbones.unwrapping import plain_model, timm_model
from hf_transfer_kit.errors import ModelError, first_line

_LENGTH = 8  # tokens
_SIDES = (64, 224, 32, 96, 128, 256, 299, 384, 28)
_SAMPLES = (4_000, 16_000, 800, 48_000)
_FRAMES = (100, 200, 128, 3_000, 1_024)
_remembered: weakref.WeakKeyDictionary[nn.Module, Any] = weakref.WeakKeyDictionary()
_traces: weakref.WeakKeyDictionary[nn.Module, tuple[int, Trace | ModelError]] = weakref.WeakKeyDictionary()


def remember_inputs(model: nn.Module, inputs: Mapping[str, Any] | Any) -> None:
    """From now on a forward of ``model`` is made with these inputs: keyword arguments, a tuple or one tensor."""
    inner = plain_model(model)[0]
    if _remembered.get(inner) is not inputs:
        _remembered[inner] = inputs
        _traces.pop(inner, None)


def has_inputs(model: nn.Module) -> bool:
    """Whether inputs of this very model are remembered."""
    return plain_model(model)[0] in _remembered


def remembered_inputs(model: nn.Module) -> Any:
    """What ``remember_inputs`` was given for this plain model, None for nothing."""
    return _remembered.get(model)


def traced(model: nn.Module) -> Trace:
    """The trace of a plain model, with remembered inputs, else with the first made ones that it accepts.

    It is made once for a structure of the model.

    Raises:
        ModelError: When no forward could be made; says why the likeliest one failed.
    """
    structure = structure_of(model)
    known = _traces.get(model)
    if known is None or known[0] != structure:
        try:
            found: Trace | ModelError = _newly_traced(model)
        except ModelError as error:
            found = error
        _traces[model] = known = (structure, found)
    if isinstance(known[1], ModelError):
        raise ModelError(str(known[1]))
    return known[1]


def _newly_traced(model: nn.Module) -> Trace:
    if model in _remembered:
        try:
            return trace(model, _placed(_remembered[model], model))
        except Exception as error:
            raise ModelError(
                f"{type(model).__name__} cannot run on the example inputs that were given ({_reason(error)}). Give "
                "what its forward takes: a dict of keyword arguments, a tuple, or one tensor."
            ) from error
    reason = "nothing is known of what it reads"
    for number, inputs in enumerate(_made(model)):
        try:
            return trace(model, _placed(inputs, model))
        except Exception as error:
            if number == 0:
                reason = f"on made-up inputs it says: {_reason(error)}"
    raise ModelError(
        f"The order of the layers of {type(model).__name__} is read off one forward, and none could be made: {reason}. "
        "Call layer_groups(model, example_inputs=...) once; they are remembered for this model, callbacks included."
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:160]


def _placed(inputs: Any, model: nn.Module) -> Any:
    """Inputs on the model's device and, where they are floats, of its precision."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor) or first is None:
            return value
        return value.to(first.device, first.dtype if value.is_floating_point() else value.dtype)

    if isinstance(inputs, Mapping):
        return {name: place(value) for name, value in inputs.items()}
    return tuple(place(value) for value in inputs) if isinstance(inputs, tuple) else place(inputs)


def _made(model: nn.Module) -> Iterator[Any]:
    """Inputs that the network might accept, the likeliest first."""
    if isinstance(model, PreTrainedModel):
        yield from _of_transformers(model)
        return
    if (timm := timm_model(model)) is not None:
        # The first convolution may read what was made of the picture.
        for channels in dict.fromkeys((_channels(model), 3)):
            for side in _sides(timm[0]):
                yield _picture(channels, side)
        return
    yield from _of_any(model)


def _channels(model: nn.Module) -> int:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None else 3


def _picture(channels: int, side: int | tuple[int, int]) -> Tensor:
    height, width = side if isinstance(side, (tuple, list)) else (side, side)
    return torch.linspace(-1, 1, channels * height * width).reshape(1, channels, height, width)


def _sides(*owners: Any) -> list[int | tuple[int, int]]:
    """Sizes of pictures to try: those that a network or its config names, then usual ones."""
    named: list[Any] = []
    for owner in owners:
        named += [getattr(owner, attribute, None) for attribute in ("img_size", "image_size")]
        named.append(getattr(getattr(owner, "patch_embed", None), "img_size", None))
        shape = (getattr(owner, "pretrained_cfg", None) or {}).get("input_size")
        named.append(tuple(shape[1:]) if shape else None)
    found: list[Any] = []
    for side in [*named, *_SIDES]:
        if isinstance(side, Mapping):
            side = side.get("height", side.get("shortest_edge"))
        side = tuple(side) if isinstance(side, (list, tuple)) else side
        if side and side not in found:
            found.append(side)
    return found


def _configs(config: Any) -> list[Any]:
    """A config and those nested in it."""
    inside = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [config, *(c for inner in inside if inner is not None for c in _configs(inner))]


def _setting(config: Any, *names: str, default: Any = None) -> Any:
    for owner in _configs(config):
        for name in names:
            value = getattr(owner, name, None)
            if value is not None and not isinstance(value, bool):
                return value
    return default


def token_ids(config: Any, shape: tuple[int, ...] = (1, _LENGTH)) -> Tensor:
    """Token ids inside the vocabulary, the end token (where there is one) last, as encoder-decoders' heads want it."""
    vocabulary = int(_setting(config, "vocab_size", default=16) or 16)
    named = [_setting(config, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id", "mask_token_id")]
    special = {i for value in named for i in (value if isinstance(value, (list, tuple)) else [value])}
    usual = [i for i in range(min(vocabulary, 64)) if i not in special] or [0]
    count = int(torch.Size(shape).numel())
    ids = torch.tensor([usual[i % len(usual)] for i in range(count)]).reshape(shape)
    end = _setting(config, "eos_token_id")
    end = end[0] if isinstance(end, (list, tuple)) and end else end
    if isinstance(end, int) and 0 <= end < vocabulary:
        ids[..., -1] = end
    return ids


def _of_transformers(model: PreTrainedModel) -> Iterator[dict[str, Tensor]]:
    names = set(signature(model.forward).parameters)
    config = model.config
    main = getattr(model, "main_input_name", "input_ids")
    shape = (1, 2, _LENGTH) if "MultipleChoice" in type(model).__name__ else (1, _LENGTH)
    books = getattr(config, "num_codebooks", None)
    if isinstance(books, int) and type(model).__name__.startswith("Musicgen"):
        yield {"input_ids": token_ids(config, (books, _LENGTH))}  # its codebooks are rows
    ids = token_ids(config, shape)
    text: dict[str, Tensor] = {}
    if "input_ids" in names:
        text = {"input_ids": ids}
        if "attention_mask" in names:
            text["attention_mask"] = torch.ones_like(ids)
        if "bbox" in names:
            text["bbox"] = torch.zeros(*shape, 4, dtype=torch.long)
    decoder = {"decoder_input_ids": token_ids(config)} if "decoder_input_ids" in names else {}
    others = [candidate for name in names for candidate in [_of_name(name, config)] if candidate]
    if hasattr(model, "timm_model"):
        yield from ({"pixel_values": _picture(_channels(model), side)} for side in _sides(model.timm_model))
    seen_inputs = [o for options in others for o in options]
    if main in ("input_ids", "inputs_embeds") or (not seen_inputs and text):
        both = [{**text, **option} for option in seen_inputs if "pixel_values" in option]
        # Two towers want both; a language model that may look at pictures does without.
        first, second = (both, [text]) if _has_two_towers(model) else ([text], both)
        for batch in [*first, *second]:
            yield batch
            if decoder:
                yield {**batch, **decoder}
    for option in seen_inputs:
        yield option
        if decoder:
            yield {**option, **decoder}
        if text:
            yield {**text, **option}
    try:
        yield dict(model.dummy_inputs)
    except Exception:
        return


def _has_two_towers(model: PreTrainedModel) -> bool:
    return any("vision" in name for name in getattr(model.config, "sub_configs", {}))


def _of_name(name: str, config: Any) -> list[dict[str, Tensor]]:
    """Candidates for one of the inputs by which transformers' networks read something else than tokens."""
    mels = int(_setting(config, "num_mel_bins", "feature_size", "input_feat_per_channel", default=80))
    if name in ("pixel_values", "pixel_values_videos"):
        channels = int(_setting(config, "num_channels", "in_channels", "in_chans", default=3))
        pictures = [{name: _picture(channels, side)} for side in _sides(*_configs(config))]
        frames = _setting(config, "num_frames")
        if frames:
            pictures = [{name: p[name].unsqueeze(1).expand(-1, int(frames), -1, -1, -1)} for p in pictures] + pictures
        return pictures
    if name == "input_values":
        length = _setting(config, "max_length")
        waves = [torch.linspace(-1, 1, count).sin().reshape(1, -1) for count in _SAMPLES]
        spectra = [torch.ones(1, int(length), mels)] if isinstance(length, int) and length > 20 else []
        ordered = [*spectra, *waves] if hasattr(config, "num_mel_bins") and spectra else [*waves, *spectra]
        return [{name: value} for value in ordered]
    if name == "input_features":
        positions = _setting(config, "max_source_positions")
        counts = ([2 * int(positions)] if positions else []) + list(_FRAMES)
        return [{name: torch.ones(1, mels, n)} for n in counts] + [{name: torch.ones(1, n, mels)} for n in counts]
    return []


def _of_any(model: nn.Module) -> Iterator[Any]:
    """Inputs for a module that somebody wrote: by its forward's names, by known networks inside, by its first layer."""
    names = [
        p.name
        for p in signature(model.forward).parameters.values()
        if p.default is Parameter.empty and p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    accepted = signature(model.forward).parameters
    inner = next((m for m in model.modules() if isinstance(m, PreTrainedModel)), None)
    for labels in _labels(names, accepted):
        for inputs in _of_transformers(inner) if inner is not None else ():
            named = {name: value for name, value in inputs.items() if name in accepted}
            if named:
                yield {**named, **labels}
            if len(named) < len(inputs):
                # A SentenceTransformer reads one dict; others take the first input by position.
                yield (dict(inputs), *labels.values())
                yield (next(iter(inputs.values())), *labels.values())
        others = [name for name in names if name not in labels]
        for value in _first_tensors(model):
            yield {**dict.fromkeys(others, value), **labels} if others else (value, *labels.values())


def _labels(required: list[str], accepted: Mapping[str, Parameter]) -> list[dict[str, Tensor]]:
    """Labels to give: those that must be; where none must, none, then those that may be (some models fail without)."""
    whole = torch.zeros(1, dtype=torch.long)
    must = {name: whole for name in required if _is_label(name)}
    may = {name: whole for name in accepted if _is_label(name)}
    return [must, may] if may != must else [must]


def _is_label(name: str) -> bool:
    return "label" in name or name in ("y", "target", "targets")


def _first_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that some early layer of the network would accept."""
    timm = next((t[0] for m in model.modules() if (t := timm_model(m)) is not None), None)
    tried: set[tuple] = set()
    for layer in model.modules():
        for value in _for_layer(layer, timm):
            key = (value.dtype, tuple(value.shape))
            if key not in tried and len(tried) < 60:
                tried.add(key)
                yield value


def _for_layer(layer: nn.Module, timm: nn.Module | None) -> list[Tensor]:
    if isinstance(layer, nn.Conv2d):
        return [_picture(layer.in_channels, side) for side in (_sides(timm) if timm is not None else _SIDES)]
    if isinstance(layer, nn.Conv1d):
        return [torch.ones(1, layer.in_channels, length) for length in (64, *_SAMPLES[:2])]
    if isinstance(layer, nn.Conv3d):
        return [torch.ones(1, layer.in_channels, 16, side, side) for side in (32, 112)]
    if isinstance(layer, nn.Embedding):
        return [torch.arange(_LENGTH).remainder(layer.num_embeddings).reshape(1, -1)]
    if isinstance(layer, nn.Linear):
        side = round((layer.in_features) ** 0.5)
        flat = torch.linspace(-1, 1, layer.in_features)
        values = [flat.reshape(1, -1), flat.expand(1, _LENGTH, -1)]
        return values + ([flat.reshape(1, 1, side, side)] if side * side == layer.in_features else [])
    if isinstance(layer, nn.RNNBase):
        return [torch.ones(1, _LENGTH, layer.input_size)]
    return []
