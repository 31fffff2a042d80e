"""A split is trusted only after both ways through the network gave the same, on real rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.layer_groups import layer_groups
from hf_transfer_kit.backbones.seeded_eval_mode import seeded_eval_mode
from hf_transfer_kit.backbones.splitting.calls import call_model, float_outputs, unit_modules
from hf_transfer_kit.backbones.splitting.replay import SuffixMode
from hf_transfer_kit.backbones.splitting.sample import MASK
from hf_transfer_kit.backbones.splitting.split import refusal
from hf_transfer_kit.errors import ModelError, first_line

# Random things that a network decides by itself while it trains are looked for under this seed.
_SEED = 20
# Rounding turns single activations over the kinks of a ReLU, and with them single entries of a gradient; a way that is
# missing changes its norm. Gradients much smaller than the largest are all rounding.
_GRADIENT_TOLERANCE = 0.02
_LEAST_GRADIENT = 1e-3


@contextmanager
def only_containers_training(mode: SuffixMode, parts: Sequence[nn.Module]) -> Iterator[None]:
    """All parts in evaluation mode, what lies around them in training mode; outside, modes and random state as before.

    Noise that the network adds between its parts (masks over time, dropped layers) then shows, their dropout does not.
    """
    with seeded_eval_mode(mode.model, seed=_SEED):
        mode.model.train()
        for module in parts:
            module.eval()
        mode.hold()
        yield


def check_split(
    mode: SuffixMode,
    whole: Mapping[str, Any],
    cached: Mapping[str, Any],
    *,
    tolerance: float,
    compare_gradients: bool = True,
) -> float:
    """The largest difference between the outputs of the whole network and of its suffix on cached tensors.

    Args:
        mode: The model in suffix mode.
        whole: A batch of ordinary inputs.
        cached: The same rows as cached tensors.
        tolerance: Largest difference allowed, relative to the largest output (at least 1).
        compare_gradients: Also compare which parameters get a gradient, and the gradients themselves.

    Raises:
        ModelError: When outputs or gradients differ.

    Example:
        >>> cached = cache_prefix(model, 2, train, collator=collator, cache_dir="cache", progress=False)
        >>> whole, stored = collator(train[:2]), cached.collator([cached.dataset[0], cached.dataset[1]])
        >>> check_split(cached.mode, whole, stored, tolerance=1e-5) < 1e-5
        True
    """
    model, depth = mode.model, mode.split.depth
    parts = list(unit_modules(layer_groups(model)).values())
    with only_containers_training(mode, parts):
        expected, gradients = _outputs_and_gradients(model, whole, enabled=compare_gradients)
    with only_containers_training(mode, parts):
        try:
            found, cached_gradients = _outputs_and_gradients(model, cached, enabled=compare_gradients)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(
                refusal(model, depth, f"the rest cannot run without it ({first_line(error)[:120]})")
            ) from error
    difference = _difference(expected, found)
    if not difference <= tolerance:
        raise ModelError(refusal(model, depth, _cause(mode, whole, cached, difference, tolerance)))
    lost = sorted(gradients.keys() - cached_gradients.keys())
    if lost:
        raise ModelError(refusal(model, depth, f"{lost[0]!r} would no longer learn"))
    largest = max((gradient.norm().item() for gradient in gradients.values()), default=0.0)
    for name, gradient in gradients.items():
        scale = max(gradient.norm().item(), _LEAST_GRADIENT * largest)
        if not (gradient - cached_gradients[name]).norm().item() <= _GRADIENT_TOLERANCE * scale:
            raise ModelError(refusal(model, depth, f"the gradient of {name!r} would be another"))
    return difference


def _cause(
    mode: SuffixMode, whole: Mapping[str, Any], cached: Mapping[str, Any], difference: float, tolerance: float
) -> str:
    """Why the two ways differ."""
    with seeded_eval_mode(mode.model, seed=_SEED):
        still = _difference(*(_outputs_and_gradients(mode.model, batch, enabled=False)[0] for batch in (whole, cached)))
    if still <= tolerance:
        return (
            f"{_torn_module(mode)!r} draws random numbers between its frozen layers while it trains, as for dropout "
            "(set that to 0 in the model's config to use a cache)"
        )
    where = f"{_torn_module(mode)!r} reads more of its first layers than what they return"
    return f"{where} (outputs differ by {difference:.2g})" if difference == difference else where


def _torn_module(mode: SuffixMode) -> str:
    """The innermost module that holds layers on both sides of the cut."""
    groups = layer_groups(mode.model)
    first, rest = (
        [n for g in part for n in g.modules] for part in (groups[: mode.split.depth], groups[mode.split.depth :])
    )
    holders = [
        name
        for name, module in mode.model.named_modules()
        if name
        and not isinstance(module, (nn.ModuleList, nn.ModuleDict))
        and all(any(n.startswith(f"{name}.") for n in names) for names in (first, rest))
    ]
    return max(holders, key=lambda name: name.count("."), default=type(mode.model).__name__)


def _outputs_and_gradients(
    model: nn.Module, batch: Mapping[str, Any], *, enabled: bool
) -> tuple[list[Tensor], dict[str, Tensor]]:
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.set_grad_enabled(enabled):
        outputs = [_without_padding(output, batch.get(MASK)) for output in float_outputs(call_model(model, batch))]
        connected = [output for output in outputs if output.requires_grad]
        if not enabled or not connected or not learning:
            return [output.detach().float() for output in outputs], {}
        total = cast(Tensor, sum(output.float().square().mean() for output in connected))
        found = torch.autograd.grad(total, list(learning.values()), allow_unused=True)
    gradients = {name: value for name, value in zip(learning, found, strict=True) if value is not None}
    return [output.detach().float() for output in outputs], gradients


def _without_padding(output: Tensor, mask: Tensor | None) -> Tensor:
    """Output of shape (B, T, ...) where the mask, of shape (B, T), lets through; what padding gives means nothing."""
    if mask is None or mask.dim() != 2 or output.shape[:2] != mask.shape:
        return output
    return output[mask.bool()]


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Largest absolute difference over the largest absolute value (at least 1); NaN when shapes differ."""
    if [value.shape for value in expected] != [value.shape for value in found]:
        return float("nan")
    largest = max([1.0, *(value.abs().max().item() for value in expected if value.numel())])
    differences = [(a - b).abs().max().item() for a, b in zip(expected, found, strict=True) if a.numel()]
    # max() would pass over NaN
    return float(torch.tensor([0.0, *differences]).max()) / largest
