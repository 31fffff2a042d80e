"""What must hold for any network: each check returns a short fault, or None where all is right."""

from __future__ import annotations

import copy
import tempfile
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers import PreTrainedModel

from hf_transfer_kit import FreezeLayers, cache_prefix, layer_groups, reinitialize, replace_head
from hf_transfer_kit.errors import TransferKitError
from sweep.zoo import run

_LABELLED = ("Classification",)
_NEW = 7


class _Uses(TorchDispatchMode):
    """Parameters in the order in which operations first read them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.order: dict[str, None] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for leaf in tree_flatten((args, kwargs or {}))[0]:
            if isinstance(leaf, Tensor) and id(leaf) in self.names:
                self.order.setdefault(self.names[id(leaf)])
        return function(*args, **(kwargs or {}))


def groups(model: nn.Module, inputs: dict) -> str | None:
    """Every parameter is in exactly one group."""
    found = sorted(name for group in layer_groups(model) for name in group.parameters)
    return None if found == sorted(name for name, _ in model.named_parameters()) else "parameters missing or twice"


def order(model: nn.Module, inputs: dict) -> str | None:
    """Depth never falls along the forward; groups of branches (named ``a | b``) are left out."""
    depth = {n: i for i, g in enumerate(layer_groups(model)) if " | " not in g.name for n in g.parameters}
    with torch.no_grad(), _Uses(model) as uses:
        run(model, inputs)
    used = [name for name in uses.order if name in depth]
    falls = [(a, b) for a, b in pairwise(used) if depth[b] < depth[a]]
    return f"{falls[0][1]} runs after {falls[0][0]} but lies before it" if falls else None


def head(model: nn.Module, inputs: dict) -> str | None:
    """A classifier has a head, the last group."""
    if not is_classifier(model):
        return None
    if layer_groups(model).head is not None or len(set(map(id, model.parameters()))) < len(model.state_dict()):
        return None  # a tied head lies with the embeddings
    return "no head was found"


def new_head(model: nn.Module, inputs: dict) -> str | None:
    """Seven classes come out, the body is untouched, and the saved network gives the same logits; refused, it is as it
    was."""
    groups_before = layer_groups(model)
    body = {n: p.clone() for group in groups_before.body for n, p in group.parameters.items()}
    before = outputs_of(model, inputs)
    try:
        replace_head(model, _NEW, seed=0)
    except TransferKitError:
        if not _equal(outputs_of(model, inputs), before):
            return "refused and changed"
        if is_classifier(model):
            raise
        return None
    counts = {size for leaf in outputs_of(model, inputs) if leaf.dim() > 1 for size in (leaf.shape[-1], leaf.shape[1])}
    if not counts & ({_NEW} if is_classifier(model) else {_NEW, _NEW + 1}):
        return f"outputs of shapes {[tuple(leaf.shape) for leaf in outputs_of(model, inputs)][:3]}"
    own = dict(model.named_parameters())
    if changed := [name for name, value in body.items() if not torch.equal(own[name], value)]:
        return f"{changed[0]} changed"
    if isinstance(model, PreTrainedModel):
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            again = type(model).from_pretrained(folder).eval()
        if not _equal(outputs_of(again, inputs), outputs_of(model, inputs)):
            return "the reloaded network gives other outputs"
    return None


def freezing(model: nn.Module, inputs: dict) -> str | None:
    """What is frozen gets no gradient, all else the gradient it had."""
    try:
        before = gradients(model, inputs)
    except RuntimeError:  # a network that cannot be trained by all its outputs
        return None
    body = len(layer_groups(model).body)
    for first in sorted({1, max(1, body // 2)} if body else ()):
        callback = FreezeLayers(first=first, quiet=True)
        frozen = {n for group in callback.apply(model)[:first] for n in group.parameters}
        after = gradients(model, inputs)
        callback.undo(model)
        if frozen & after.keys():
            return f"{sorted(frozen & after.keys())[0]} is frozen and has a gradient"
        if lost := sorted(before.keys() - frozen - after.keys()):
            return f"{lost[0]} lost its gradient"
    return None


def prefix(model: nn.Module, inputs: dict) -> str | None:
    """The rest on a cached prefix gives what the whole network gives."""
    whole = logits_of(model, inputs)
    middle = max(1, len(layer_groups(model).body) // 2)
    rows = [{name: value[i] for name, value in inputs.items()} for i in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        cached = cache_prefix(model, middle, rows, cache_dir=folder, progress=False)
        batch = cached.collator([cached.dataset[i] for i in range(4)])
        with torch.no_grad():
            found = first_floats(model(**batch))
        cached.rejoin()
    difference = (found - whole).abs().max().item() if found.shape == whole.shape else float("inf")
    return None if difference <= 1e-4 * max(1.0, whole.abs().max().item()) else f"outputs differ by {difference:.2g}"


def fresh(model: nn.Module, inputs: dict) -> str | None:
    """The last two groups draw anew and nothing else."""
    found = layer_groups(model)
    if len(found) < 2:
        return None
    inside = {n for group in found[-2:] for n in group.parameters}
    before = {n: p.clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        for name in inside:  # as if it had learned
            dict(model.named_parameters())[name].add_(0.01)
    learned = {n: p.clone() for n, p in model.named_parameters()}
    reinitialize(model, last=2, seed=1)
    for name, parameter in model.named_parameters():
        if name not in inside and not torch.equal(parameter, before[name]):
            return f"{name} changed though it is not in the last groups"
        if name in inside and parameter.numel() and torch.equal(parameter, learned[name]):
            return f"{name} kept its values"
    return None


CHECKS = {
    "groups": groups,
    "order": order,
    "head": head,
    "freezing": freezing,
    "cache_prefix": prefix,
    "replace_head": new_head,
    "reinitialize": fresh,
}
"""Column -> check."""


def is_classifier(model: nn.Module) -> bool:
    """Whether the network gives one score a class."""
    if isinstance(model, PreTrainedModel):
        return any(word in type(model).__name__ for word in _LABELLED) and hasattr(model.config, "num_labels")
    return True


def first_floats(output: Any) -> Tensor:
    """The logits of an output, or its first floating tensor."""
    if hasattr(output, "get") and output.get("logits") is not None:
        output = output["logits"]
    leaves = [x for x in tree_flatten(output)[0] if isinstance(x, Tensor) and x.is_floating_point()]
    return max(leaves, key=lambda leaf: leaf.dim() > 1)


def logits_of(model: nn.Module, inputs: dict) -> Tensor:
    """Its logits in evaluation mode."""
    with torch.no_grad():
        return first_floats(run(model.eval(), inputs))


def outputs_of(model: nn.Module, inputs: dict) -> list[Tensor]:
    """All its floating outputs in evaluation mode, from one state of random numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        leaves = tree_flatten(run(model.eval(), copy.copy(inputs)))[0]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return [leaf.shape for leaf in first] == [leaf.shape for leaf in second] and all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in zip(first, second, strict=True)
    )


def gradients(model: nn.Module, inputs: dict) -> dict[str, Tensor]:
    """Parameter -> gradient of the sum of all floating outputs, where there is one."""
    model.zero_grad()
    leaves = [x for x in tree_flatten(run(model, copy.copy(inputs)))[0] if isinstance(x, Tensor) and x.requires_grad]
    if leaves:
        sum(leaf.float().sum() for leaf in leaves).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
