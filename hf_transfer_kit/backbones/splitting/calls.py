"""Recording what the parts of a network hand to each other in one forward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from hf_transfer_kit.backbones.splitting.split import INPUT, leaf_name
from hf_transfer_kit.values import LayerGroup


def unit_modules(groups: Sequence[LayerGroup]) -> dict[str, nn.Module]:
    """The modules that groups are made of, by qualified name, each module once.

    Example:
        >>> list(unit_modules(layer_groups(model).groups))[-1]
        'classifier'
    """
    found: dict[int, tuple[str, nn.Module]] = {}
    for group in groups:
        for name, module in group.modules.items():
            found.setdefault(id(module), (name, module))
    return dict(found.values())


@dataclass(frozen=True)
class RecordedCall:
    """One call of a unit: its tree of outputs (or inputs), tensors detached."""

    unit: str
    call: int
    spec: TreeSpec
    leaves: tuple[Any, ...]
    is_input: bool = False

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        prefix = INPUT if self.is_input else ""
        return {
            f"{prefix}{leaf_name(self.unit, self.call, index)}": leaf
            for index, leaf in enumerate(self.leaves)
            if isinstance(leaf, Tensor)
        }


class _AllRecordedError(BaseException):
    """Ends a forward whose rest nobody needs; no ``except Exception`` on the way may swallow it."""


class CallRecorder:
    """Catches what units return, and what enters some of them, while one forward runs.

    Args:
        units: Qualified name -> module whose outputs are caught.
        entered: Qualified name -> module whose inputs are caught.
        wanted: Names of tensors; only these are kept, copied, and the forward ends when all are there. None keeps all,
            uncopied.

    Example:
        >>> calls, output = CallRecorder({"head": model.classifier}).run(model, collator(train[:2]))
        >>> [call.unit for call in calls]
        ['head']
    """

    def __init__(
        self,
        units: Mapping[str, nn.Module],
        *,
        entered: Mapping[str, nn.Module] | None = None,
        wanted: Sequence[str] | None = None,
    ) -> None:
        self.units = units
        self.entered = entered or {}
        self.wanted = None if wanted is None else set(wanted)

    def run(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[list[RecordedCall], Any]:
        """One forward: its calls in order, and its output (None when it was ended early)."""
        calls: list[RecordedCall] = []
        counts: Counter[tuple[str, bool]] = Counter()
        missing = None if self.wanted is None else set(self.wanted)

        def note(unit: str, tree: Any, *, is_input: bool) -> None:
            leaves, spec = tree_flatten(tree)
            leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            call = RecordedCall(unit, counts[unit, is_input], spec, tuple(leaves), is_input)
            counts[unit, is_input] += 1
            if missing is None:
                calls.append(call)
                return
            if kept := missing & call.tensors().keys():
                # Copied, for a later layer may write into the same memory.
                copies = tuple(leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves)
                calls.append(RecordedCall(unit, call.call, spec, copies, is_input))
                missing.difference_update(kept)
                if not missing:
                    raise _AllRecordedError

        handles = [
            module.register_forward_hook(lambda m, args, output, unit=unit: note(unit, output, is_input=False))
            for unit, module in self.units.items()
        ]
        handles += [
            module.register_forward_pre_hook(
                lambda m, args, kwargs, unit=unit: note(unit, (args, kwargs), is_input=True), with_kwargs=True
            )
            for unit, module in self.entered.items()
        ]
        try:
            return calls, call_model(model, batch)
        except _AllRecordedError:
            return calls, None
        finally:
            for handle in handles:
                handle.remove()


def call_forward(forward: Callable[..., Any], batch: Mapping[str, Any]) -> Any:
    """The output for a batch; a network that knows no such names (timm's) gets its inputs by position."""
    names = signature(forward).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in names.values()):
        return forward(**batch)
    known = {name: value for name, value in batch.items() if name in names}
    return forward(**known) if known else forward(*(v for name, v in batch.items() if "label" not in name))


def call_model(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    """The model's output for a batch, its hooks included."""
    named: Any = partial(model)
    named.__signature__ = signature(model.forward)
    return call_forward(named, batch)


def float_outputs(output: Any) -> list[Tensor]:
    """The floating tensors in a model's output."""
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor) and leaf.is_floating_point()]
