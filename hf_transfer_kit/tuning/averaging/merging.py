"""Several networks that were trained from one and the same made into one, by arithmetic on their weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones import layer_groups, load_model
from hf_transfer_kit.backbones.windows import cut_window, window_frames
from hf_transfer_kit.errors import ModelError, SettingsError
from hf_transfer_kit.options import check_choice, check_number, check_seed
from hf_transfer_kit.real_numbers import is_finite
from hf_transfer_kit.tuning.averaging.mixing import check_mixable, floating, moved_norms, put
from hf_transfer_kit.tuning.averaging.statistics import batches_of, gather_statistics
from hf_transfer_kit.tuning.selecting import selected_names
from hf_transfer_kit.values.rows import MapRows, check_map_rows

METHODS = ("soup", "task_arithmetic", "ties", "dare")

Weights = Sequence[float] | Mapping[str | int, Sequence[float]]


@dataclass(frozen=True, eq=False)
class Merged:
    """A network that was merged, and what of.

    Args:
        model: In evaluation mode.
        method: How.
        names: Of what was merged, in order.
        base: Name of what they were trained from; None where the method asks for none.
        weights: Part of the network -> a factor for each network; later parts count where two meet.
        density: Share of each change that was kept; None where the method keeps all.
        notes: Sentences about what was done otherwise.
    """

    model: PreTrainedModel
    method: str
    names: tuple[str, ...]
    base: str | None
    weights: dict[str, tuple[float, ...]]
    density: float | None
    notes: tuple[str, ...]


@checked_arguments()
def merge_models(
    models: Sequence[PreTrainedModel | str | Path],
    base: PreTrainedModel | str | Path | None = None,
    *,
    method: str = "soup",
    weights: Weights | None = None,
    density: float | None = None,
    seed: int = 0,
    rows: MapRows | None = None,
    collator: Callable[[list[Any]], Mapping[str, Any]] | None = None,
    batch_size: int = 256,
    max_rows: int | None = 1024,
) -> Merged:
    """Merges networks of one architecture and the same classes that were trained from one and the same network.

    - ``soup``: sum of w_i theta_i, the mean by default (Wortsman et al. 2022).
    - ``task_arithmetic``: theta_0 + sum of w_i (theta_i - theta_0) (Ilharco et al. 2023).
    - ``ties``: of each change the ``density`` largest entries; of these the ones that agree with the sign of their sum,
      averaged (Yadav et al. 2023).
    - ``dare``: of each change random entries, ``density`` of them, divided by it, then added (Yu et al. 2024).

    The mathematics of the last three is peft's (``peft.utils.merge_utils``), tensor by tensor in float32. Counters of
    BatchNorm are the first network's. A head that the base does not have with the same classes is averaged.

    Args:
        models: Two or more, as networks or as names or folders; they stay as they are.
        base: theta_0, of all methods but ``soup``, likewise.
        method: One of these.
        weights: A factor a network; or a selector of a part (a layer group's name or depth, ``"body"``, ``"head"``,
            ``"all"``, a glob) -> factors, the rest as by default: 1 / n, of ``ties`` 1. Of ``soup`` they must sum to 1;
            a head that is averaged is the plain mean where they do not.
        density: Above 0 and below 1, of ``ties`` (default 0.2, the paper's) and ``dare`` (default 0.5).
        seed: Of what ``dare`` draws.
        rows: Training rows to gather BatchNorm's statistics on; without them they are the mean, which is noted.
        collator: Rows -> batch, with ``rows``.
        batch_size: Rows in a batch for that.
        max_rows: How many rows, evenly spread; None takes all.

    Returns:
        The new network and what was done.

    Raises:
        ModelError: When networks cannot be merged: other shapes, classes, adapters that are not merged.
        SettingsError: When an argument is out of range or missing.

    Example:
        >>> import copy
        >>> other = copy.deepcopy(model)
        >>> merged = merge_models([model, other], method="soup")
        >>> merged.weights
        {'all': (0.5, 0.5)}
    """
    check_choice("merge_models", "method", method, METHODS)
    check_seed("merge_models", seed)
    if len(models) < 2:
        raise SettingsError(f"merge_models was given {len(models)} network; give two or more.")
    if method == "soup" and base is not None:
        raise SettingsError("method='soup' is a mean, which has no base; leave base away, or choose another method.")
    if method != "soup" and base is None:
        raise SettingsError(f"method={method!r} adds up changes of a network: give it as base, trained from by all.")
    if (rows is None) is not (collator is None):
        raise SettingsError("rows and collator go together: what is read, and what makes batches of it.")
    density = _checked_density(method, density)
    networks = [_loaded(model) for model in models]
    names = [_name(model, network, i) for i, (model, network) in enumerate(zip(models, networks, strict=True))]
    check_mixable([cast(nn.Module, network) for network in networks], names)
    result = copy.deepcopy(networks[0]).eval()
    default = 1.0 if method == "ties" else 1 / len(networks)
    factors, told = _factors(result, weights, len(networks), default)
    start, has_head = (None, True) if base is None else _loaded_base(base)
    if start is not None and window_frames(start) != window_frames(result):
        start = copy.deepcopy(start)
        cut_window(start, window_frames(result))
    averaged = _averaged(result, start, factors, method=method, has_head=has_head)
    values = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, tensor in floating(cast(nn.Module, result)).items():
            thetas = [floating(cast(nn.Module, network))[name].float() for network in networks]
            given = factors.get(name, (1 / len(networks),) * len(networks))  # buffers have no factors of their own
            if name in averaged or name not in factors:
                merged = sum(w * theta for w, theta in zip(given, thetas, strict=True))
            else:
                origin = floating(cast(nn.Module, start))[name].float()
                changes = [theta - origin for theta in thetas]
                merged = origin + combined(changes, torch.tensor(given), method=method, density=density)
            values[name] = cast(Tensor, merged).to(tensor.dtype)
    put(cast(nn.Module, result), values)
    notes = [_HEAD_NOTE] if averaged and method != "soup" else []
    notes += _statistics(result, networks, rows, collator, batch_size=batch_size, max_rows=max_rows)
    origin_name = None if base is None or start is None else _name(base, start, len(models))
    return Merged(result, method, tuple(names), origin_name, told, density, tuple(notes))


def combined(changes: list[Tensor], weights: Tensor, *, method: str, density: float | None) -> Tensor:
    """What is added to the base's tensor, of the tensor's shape.

    Args:
        changes: theta_i - theta_0, one a network.
        weights: w_i, (networks,).
        method: ``"task_arithmetic"``, ``"ties"`` or ``"dare"``.
        density: Of the last two.
    """
    from peft.utils.merge_utils import dare_linear, task_arithmetic, ties

    if method == "task_arithmetic":
        return task_arithmetic(changes, weights)
    return (ties if method == "ties" else dare_linear)(changes, weights, cast(float, density))


_HEAD_NOTE = "The head is the mean of the networks' heads, for the base has none with these classes."


def _checked_density(method: str, density: float | None) -> float | None:
    if method not in ("ties", "dare"):
        if density is not None:
            raise SettingsError(f"density is for ties and dare; method={method!r} keeps all. Leave it away.")
        return None
    density = {"ties": 0.2, "dare": 0.5}[method] if density is None else density
    check_number("merge_models", "density", density, low=0, high=1, above=True)
    if density == 1:
        raise SettingsError("density=1 keeps all, which is method='task_arithmetic'; give a share below 1.")
    return float(density)


def _loaded(model: PreTrainedModel | str | Path) -> PreTrainedModel:
    if isinstance(model, nn.Module):
        return model
    return load_model(model, trained_head=True, dtype="auto")


def _loaded_base(base: PreTrainedModel | str | Path) -> tuple[PreTrainedModel, bool]:
    """The base, and whether it has a head that was trained: an encoder alone is a base as well."""
    if isinstance(base, nn.Module):
        return base, True
    try:
        return _loaded(base), True
    except ModelError:
        return load_model(base, dtype="auto"), False


def _name(model: PreTrainedModel | str | Path, network: PreTrainedModel, number: int) -> str:
    given = getattr(network, "name_or_path", "") if isinstance(model, nn.Module) else str(model)
    return given or f"network {number}"


def _factors(
    model: PreTrainedModel, weights: Weights | None, count: int, default: float
) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """Parameter's name -> a factor for each network; and the same by part, as given."""
    groups = layer_groups(model)
    parts: dict[str | int, Sequence[float]] = {"all": (default,) * count}
    if isinstance(weights, Mapping):
        parts |= weights
    elif weights is not None:
        parts["all"] = weights
    found: dict[str, tuple[float, ...]] = {}
    for part, values in parts.items():
        if len(values) != count or not all(is_finite(value) for value in values):
            raise SettingsError(
                f"weights of {part!r} are {list(values)}: give one finite number for each of {count} networks."
            )
        found |= dict.fromkeys(selected_names(groups, part), tuple(float(value) for value in values))
    return found, {str(part): tuple(float(value) for value in values) for part, values in parts.items()}


def _averaged(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    factors: dict[str, tuple[float, ...]],
    *,
    method: str,
    has_head: bool,
) -> set[str]:
    """Names of the parameters that are averaged and not changed from the base: of a soup all, else a new head.

    Raises:
        ModelError: When something else is not in the base.
        SettingsError: When factors do not sum to 1 where the mean is theirs.
    """
    names = set(factors)
    if base is not None:
        groups = layer_groups(model)
        head = set(groups.head.parameters) if groups.head else set()
        known = floating(cast(nn.Module, base))
        shapes = {name: parameter.shape for name, parameter in cast(nn.Module, model).named_parameters()}
        missing = {name for name in names if name not in known or known[name].shape != shapes[name]}
        if wrong := sorted(missing - head):
            raise ModelError(
                f"The base has no {wrong[0]} of shape {tuple(shapes[wrong[0]])}, so these networks were not trained "
                "from it. Give the network that all of them began as."
            )
        is_new = missing or not has_head or model.config.id2label != base.config.id2label
        names = head if is_new else set()
    uneven = sorted(name for name in names if abs(sum(factors[name]) - 1) > 1e-6)
    if uneven and method == "soup":
        raise SettingsError(
            f"Weights of a soup are a mean and must sum to 1; those of {uneven[0]} sum to {sum(factors[uneven[0]]):g}."
        )
    for name in uneven:  # a head without a base, beside changes whose factors may sum to anything
        factors[name] = (1 / len(factors[name]),) * len(factors[name])
    return names


def _statistics(
    result: PreTrainedModel,
    networks: Sequence[PreTrainedModel],
    rows: MapRows | None,
    collator: Any,
    *,
    batch_size: int,
    max_rows: int | None,
) -> list[str]:
    """Gathers the statistics anew of BatchNorms that differ; a sentence where there is nothing to do it on."""
    chosen = moved_norms(cast(nn.Module, result), [cast(nn.Module, network) for network in networks])
    if not chosen:
        return []
    if rows is None:
        return [
            "BatchNorm's statistics are the mean of the networks', and were not gathered anew for the merged weights; "
            "training rows would do that."
        ]
    check_map_rows(rows)
    gather_statistics(
        cast(nn.Module, result), chosen, batches_of(rows, collator, batch_size=batch_size, max_rows=max_rows)
    )
    read = len(rows) if max_rows is None else min(len(rows), max_rows)
    return [f"BatchNorm's statistics were gathered anew on {read:,} training rows."]
