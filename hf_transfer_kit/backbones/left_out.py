"""Networks inside a network that its forward left out, as the eyes of a language model that was given words alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel

from hf_transfer_kit.backbones.sections import join_names
from hf_transfer_kit.backbones.tracing import Trace
from hf_transfer_kit.logs import get_logger

logger = get_logger(__name__)


def left_out(model: nn.Module, trace: Trace) -> list[str]:
    """Names of the topmost modules of which the forward used nothing and that lead into it.

    Those are networks of their own, and what holds a list of layers and is defined before most of what was used: layers
    defined after it (that predict further words, or are for training alone) lead nowhere.
    """
    found: list[str] = []
    used = [index for index, name in enumerate(trace.names) if name in trace.first_use]
    middle = used[len(used) // 2] if used else -1
    index_of = {name: index for index, name in enumerate(trace.names)}

    def visit(name: str, module: nn.Module) -> None:
        own = [join_names(name, inner) for inner, _ in module.named_parameters()]
        if not own:
            return
        if not any(parameter in trace.first_use for parameter in own):
            listed = any(isinstance(inner, nn.ModuleList) for inner in module.modules())
            if isinstance(module, PreTrainedModel) or (listed and index_of.get(own[0], middle) < middle):
                found.append(name)
            return
        for child_name, child in module.named_children():
            visit(join_names(name, child_name), child)

    visit("", model)
    return found


def with_left_out(model: nn.Module, trace: Trace, trace_of: Callable[[nn.Module], Trace | None]) -> Trace:
    """The trace, with the networks that the forward left out before all it used, each as a forward of its own shows it.

    That is where what reads pictures or sounds for a language model is; what is defined right after it (a projector)
    goes with it. It is said, for a forward of the whole would know better.

    Args:
        model: The traced model.
        trace: Of its forward.
        trace_of: The trace of a module inside, None where there is none.
    """
    ahead: list[str] = []
    missing = left_out(model, trace)
    if not trace.first_use or not missing:
        return trace
    for name in missing:
        inside = trace_of(model.get_submodule(name))
        used = [] if inside is None else sorted(inside.first_use, key=inside.first_use.__getitem__)
        defined = [inner for inner, _ in model.get_submodule(name).named_parameters()]
        ahead += [join_names(name, inner) for inner in dict.fromkeys([*used, *defined])]
        ahead += _right_after(model, name, trace, {*missing})
    logger.warning(
        f"The inputs for one forward of {type(model).__name__} leave out {', '.join(missing)}, taken to come before "
        "all else. If that is wrong, call layer_groups(model, example_inputs=...) once with inputs that reach all."
    )
    ahead = list(dict.fromkeys(ahead))
    bit = {name: 1 << index for index, name in enumerate(trace.names)}
    before, reads = 1 << len(trace.names), {}
    for name in ahead:
        reads[name] = before
        before |= bit.get(name, 0)
    reads |= {name: mask | before for name, mask in trace.reads.items()}
    first_use = {name: index for index, name in enumerate(ahead)}
    first_use |= {name: use + len(ahead) for name, use in trace.first_use.items()}
    reaching = trace.reaching | set(ahead) if trace.reaching else trace.reaching
    return replace(trace, first_use=first_use, reads=reads, reaching=reaching)


def _right_after(model: nn.Module, name: str, trace: Trace, others: set[str]) -> list[str]:
    """Parameters of the unused modules between ``name`` and the next one beside it that is used, or left out itself."""
    above, _, own = name.rpartition(".")
    beside = list(model.get_submodule(above).named_children())
    start = next(index for index, (child, _) in enumerate(beside) if child == own)
    found: list[str] = []
    for child_name, child in beside[start + 1 :]:
        full = join_names(above, child_name)
        inside = [join_names(full, inner) for inner, _ in child.named_parameters()]
        if full in others or any(parameter in trace.first_use for parameter in inside):
            break
        found += inside
    return found
