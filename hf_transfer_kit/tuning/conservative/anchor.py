"""The pretrained weights w0 that conservative training holds on to, also after a resume.

w0 is taken when the Trainer is made, from the model as the user built it: a checkpoint is loaded later. A fingerprint
of w0 goes into every checkpoint, and a resume with another w0 is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainerState

from hf_transfer_kit.backbones import layer_groups, load_model, modality_of
from hf_transfer_kit.backbones.adapters import without_pretrained_value
from hf_transfer_kit.backbones.shards import gathered
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.backbones.windows import cut_window, window_frames
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.layouts import check_read_everywhere

Source = str | Path | Mapping[str, Tensor]

_SAMPLED = 65_536  # elements of a tensor that enter a fingerprint: training moves all of them
_taken: WeakKeyDictionary[nn.Module, dict[str, Anchor]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Anchor:
    """Pretrained tensors of the body.

    Args:
        weights: Name in the plain model -> detached copy of a parameter. Frozen parameters and adapters are left out.
        buffers: Name -> detached copy of a floating buffer, such as BatchNorm's statistics.
        fingerprint: Tells these weights, the frozen ones included, from any others.
        frozen: Name of each frozen parameter -> its own fingerprint.
    """

    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    fingerprint: str
    frozen: Mapping[str, str] = field(default_factory=dict)


class AnchorKeeper:
    """Takes w0 at the right moment, and refuses to go on from a checkpoint with another one.

    Args:
        owner: Class name of the callback, for errors and for its entry in the checkpoint.
        source: None takes w0 from the model when the Trainer is made. Else a Hub name or folder for ``load_model``, a
            .safetensors file, or a state dict.
        head: Whether the head, as it is when the Trainer is made, belongs to w0; not with a source.
    """

    def __init__(self, owner: str, source: Source | None = None, *, head: bool = False) -> None:
        self.owner = owner
        self.source = source
        self.head = head
        self.anchor: Anchor | None = None
        self._model: ref[nn.Module] | None = None

    def __getstate__(self) -> dict:
        # The model itself goes nowhere; in another process it is another one.
        return {**vars(self), "_model": None}

    def at_init(self, model: nn.Module) -> Anchor:
        """Takes w0 now.

        Raises:
            SettingsError: When not every process has the weights yet.
        """
        check_read_everywhere(self.owner)
        if self.source is not None:
            anchor = load_anchor(self.source, model)
        else:
            anchor = take_anchor(model, head=self.head)
        self.anchor = anchor
        inner = plain_model(model)[0]
        self._model = ref(inner)
        _taken.setdefault(inner, {})["own" if self.source is None else "given"] = anchor
        return anchor

    def at_train_begin(
        self, model: nn.Module, state: TrainerState, *, learning: Iterable[str] = (), restored: str | None = None
    ) -> Anchor:
        """w0 of this training.

        Args:
            model: The model about to be trained, with a checkpoint's weights when training is resumed.
            state: Trainer's state: ``global_step`` is above 0 when training is resumed.
            learning: Names of the parameters that may move: those frozen when the Trainer was made are added to w0.
            restored: Fingerprint in a callback that Trainer rebuilt from a checkpoint, which saw no ``on_init_end``.

        Raises:
            SettingsError: When training is resumed and w0 is not known, or not that of the checkpoint.
        """
        resumed = state.global_step > 0
        if self.anchor is None and restored is not None:
            known = _taken.get(plain_model(model)[0], {}).values()
            self.anchor = next((anchor for anchor in known if anchor.fingerprint == restored), None)
        elif self.anchor is not None and not resumed and not self._is_of(plain_model(model)[0]):
            self.anchor = None  # model_init made another model
        if self.anchor is None:
            if resumed and self.source is None:
                raise SettingsError(
                    f"{self.owner} was not there when the Trainer was made, and the model now has the checkpoint's "
                    "weights instead of the pretrained ones: pass it in Trainer(callbacks=[...]), or name the "
                    "pretrained weights with anchor=..."
                )
            self.at_init(model)
        anchor = cast(Anchor, self.anchor)
        if resumed:
            self._check(anchor, stored_fingerprints(state, self.owner))
        if self.source is None:
            self._add(anchor, model, learning, resumed=resumed)
        return anchor

    def _is_of(self, model: nn.Module) -> bool:
        return self._model is not None and self._model() is model

    def _add(self, anchor: Anchor, model: nn.Module, learning: Iterable[str], *, resumed: bool) -> None:
        _, prefix = plain_model(model)
        body = {
            name.removeprefix(prefix): parameter for name, parameter in body_parameters(model, head=self.head).items()
        }
        late = {n: body[n] for n in (name.removeprefix(prefix) for name in learning) if n in body}
        late = {n: parameter for n, parameter in late.items() if n not in anchor.weights}
        known = anchor.frozen
        moved = [n for n, parameter in late.items() if resumed and fingerprint_of({n: parameter}) != known.get(n)]
        if moved:
            raise SettingsError(
                f"{moved[0]} was frozen when the Trainer was made and has been trained since, so its pretrained value "
                "cannot be told from the checkpoint's: thaw it before the Trainer is made, or name the pretrained "
                "weights with anchor=..."
            )
        anchor.weights.update({name: parameter.detach().clone() for name, parameter in late.items()})

    def _check(self, anchor: Anchor, stored: set[str]) -> None:
        if stored and anchor.fingerprint not in stored:
            raise SettingsError(
                f"The pretrained weights {self.owner} would hold on to are not those of the checkpoint: the model was "
                "probably built from the checkpoint itself, and training would silently hold on to half-trained "
                "weights. Build the model from the pretrained weights before resuming, or name them with anchor=..."
            )


def take_anchor(model: nn.Module, *, head: bool = False) -> Anchor:
    """Copies of the trainable weights and the floating buffers of the body, and where asked of the head, as they are.

    Several callbacks on one unchanged model share one copy.
    """
    inner, prefix = plain_model(model)
    parameters = body_parameters(model, head=head)
    fingerprint = fingerprint_of({name.removeprefix(prefix): value for name, value in parameters.items()})
    before = _taken.get(inner, {}).get("own")
    trainable = {name.removeprefix(prefix): p for name, p in parameters.items() if p.requires_grad}
    if before is not None and before.fingerprint == fingerprint and set(before.weights) >= set(trainable):
        return before
    weights = {name: parameter.detach().clone() for name, parameter in trainable.items()}
    buffers = {name.removeprefix(prefix): value.detach().clone() for name, value in body_buffers(model).items()}
    frozen = {name.removeprefix(prefix): p for name, p in parameters.items() if not p.requires_grad}
    return Anchor(weights, buffers, fingerprint, {name: fingerprint_of({name: p}) for name, p in frozen.items()})


def load_anchor(source: Source, model: nn.Module) -> Anchor:
    """Pretrained weights from elsewhere, for those parameters and buffers of the body that they fit by name and shape.

    Raises:
        SettingsError: When they fit none.
        ModelError: When ``source`` cannot be loaded.
    """
    inner, prefix = plain_model(model)
    tensors = _loaded(source, model)
    own = {name.removeprefix(prefix): p for name, p in body_parameters(model).items()}
    weights = _fitting(own, tensors)
    if not weights:
        raise SettingsError(
            f"anchor=... fits no parameter of {type(inner).__name__}: its names look like "
            f"{', '.join(list(tensors)[:2])}, the model's like {', '.join(list(own)[:2])}."
        )
    buffers = _fitting({name.removeprefix(prefix): b for name, b in body_buffers(model).items()}, tensors)
    return Anchor(weights, buffers, fingerprint_of(weights))


def body_parameters(model: nn.Module, *, head: bool = False) -> dict[str, nn.Parameter]:
    """Qualified name -> parameter before the head, and where asked of the head; adapters left out."""
    new, groups = without_pretrained_value(model), layer_groups(model)
    asked = groups if head else groups.body
    return {n: p for group in asked for n, p in group.parameters.items() if n not in new}


def body_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Qualified name -> floating buffer outside the head."""
    head = layer_groups(model).head
    inside = tuple(f"{name}." for name in (head.modules if head is not None else ()))
    return {n: b for n, b in model.named_buffers() if b.is_floating_point() and not n.startswith(inside)}


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """A hash over names, shapes and evenly spaced elements (all of them in tensors up to 65,536)."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = gathered(tensors[name].detach())
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sample = tensor.reshape(-1)[:: max(1, -(-tensor.numel() // _SAMPLED))]
        digest.update(sample.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def stateful_callbacks(state: TrainerState) -> dict[str, Any]:
    """What callbacks keep in checkpoints by their class's name; transformers calls it a list, and makes it a dict."""
    return cast(dict[str, Any], state.stateful_callbacks)


def stored_attributes(state: TrainerState, owner: str) -> list[dict]:
    """What each callback of a class left in a checkpoint's state."""
    entries = stateful_callbacks(state).get(owner, [])
    entries = entries if isinstance(entries, list) else [entries]
    return [entry.get("attributes", {}) for entry in entries if entry]


def stored_fingerprints(state: TrainerState, owner: str) -> set[str]:
    """Fingerprints that a checkpoint's state holds for callbacks of a class."""
    return {found["fingerprint"] for found in stored_attributes(state, owner) if found.get("fingerprint")}


def _loaded(source: Source, model: nn.Module) -> Mapping[str, Tensor]:
    if isinstance(source, Mapping):
        return source
    if str(source).endswith(".safetensors"):
        return load_file(str(source))
    found = load_model(source, modality=modality_of(model))
    cut_window(found, window_frames(plain_model(model)[0]))
    return found.state_dict()


def _fitting(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in own.items():
        value = next((tensors[n] for n in _possible_names(name) if n in tensors), None)
        if value is not None and value.shape == tensor.shape:
            found[name] = value.detach().to(tensor.dtype, copy=True)
    return found


def _possible_names(name: str) -> Iterable[str]:
    """The name itself, and without what peft puts into it."""
    return name, re.sub(r"\.base_layer(?=\.)|\.modules_to_save\.[^.]+(?=\.)", "", name)
