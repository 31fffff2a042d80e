"""The network stays as it is, changes of another kind than LoRA's and a new head learn, through peft."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback
from transformers.pytorch_utils import Conv1D

from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.options import check_choice, check_int, check_number
from hf_transfer_kit.selection.strategies.adapted_models import adapted_parts, with_adapter
from hf_transfer_kit.selection.strategies.strategy import Strategy
from hf_transfer_kit.tuning import FreezeLayers
from hf_transfer_kit.values import LayerGroups

logger = get_logger(__name__)

# What a method is to peft: its configuration's class, and which options it has beside the layers.
_METHODS: dict[str, tuple[str, Callable[[OtherAdapter], dict[str, Any]]]] = {
    "dora": ("LoraConfig", lambda s: {"r": s.r, "lora_alpha": s.alpha, "use_dora": True}),
    "rslora": ("LoraConfig", lambda s: {"r": s.r, "lora_alpha": s.alpha, "use_rslora": True}),
    "ia3": ("IA3Config", lambda s: {"feedforward_modules": []}),
    "loha": ("LoHaConfig", lambda s: {"r": s.r, "alpha": s.alpha}),
    "lokr": ("LoKrConfig", lambda s: {"r": s.r, "alpha": s.alpha}),
    "vera": ("VeraConfig", lambda s: {"r": s.r}),
}


@dataclass(frozen=True)
class OtherAdapter(Strategy):
    """An adapter of peft on the linear layers (without any, the convolutions) of the last layer groups.

    DoRA (Liu et al. 2024), rsLoRA (Kalajdzievski 2023), (IA)^3 (Liu et al. 2022), LoHa (Hyeon-Woo et al. 2022), LoKr
    (Edalati et al. 2022; Yeh et al. 2024), VeRA (Kopiczko et al. 2024). What the installed peft
    cannot put on a network is refused before training, with peft's reason.

    Args:
        method: ``dora``, ``rslora``, ``ia3``, ``loha``, ``lokr`` or ``vera``.
        r: Rank >= 1; ``ia3`` has none.
        alpha: The change is scaled by alpha / r (``rslora``: by alpha / sqrt(r)); not of ``ia3`` and ``vera``.
        groups: Only this many layer groups, those nearest the head; default: all before the head.
    """

    name: ClassVar[str] = "peft"
    summary: ClassVar[str] = "The network frozen, an adapter of another kind than LoRA's and a new head trained."
    rate_kind: ClassVar[str] = "scratch"

    method: str = "dora"
    r: int = 8
    alpha: float = 16
    groups: int | None = None

    def validate(self, groups: LayerGroups) -> None:
        check_choice("peft", "method", self.method, tuple(_METHODS))
        check_int("peft", "r", self.r, low=1)
        check_number("peft", "alpha", self.alpha, low=0, above=True)
        if self.groups is not None:
            check_int("peft", "groups", self.groups, low=1, high=len(groups.body))

    def check_model(self, model: PreTrainedModel) -> None:
        self.prepare_model(copy.deepcopy(model), seed=0)

    def prepare_model(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        import peft

        kind, options = _METHODS[self.method]
        if not hasattr(peft, kind):
            raise SettingsError(
                f"peft:method={self.method} needs a peft that has {kind}; peft {peft.__version__} has none."
            )
        parts = adapted_parts(model, self.groups)
        if self.method == "dora":
            parts["target_modules"] = _with_directions(model, parts["target_modules"])
        config = getattr(peft, kind)(**parts, **options(self))
        try:
            return with_adapter(model, config, seed=seed)
        except (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError) as error:
            raise SettingsError(
                f"peft:method={self.method} cannot be put on {type(model).__name__}: {first_line(error)}. Choose "
                f"another of {', '.join(_METHODS)}, fewer groups=, or lora."
            ) from error

    def callbacks(self, model: PreTrainedModel) -> list[TrainerCallback]:
        # As for lora: what an adapter's file does not hold stays as it is.
        return [FreezeLayers(all_but_head=True, quiet=True)]


def _with_directions(model: PreTrainedModel, layers: Sequence[str]) -> list[str]:
    """The layers whose outputs all have weights.

    DoRA divides the weights of each output by their length, and pretrained convolutions have filters that died: with
    one of them everything would be NaN.

    Raises:
        ModelError: When there is no such layer.
    """
    found = [name for name in layers if not _has_dead_output(model.get_submodule(name))]
    if not found:
        raise ModelError(
            f"peft:method=dora cannot be put on {type(model).__name__}: each of its {len(layers)} layers has an output "
            "whose weights are all zero, which has no direction. Choose lora."
        )
    if left_out := len(layers) - len(found):
        logger.info(
            f"DoRA leaves out {left_out} of {len(layers)} layers, which have outputs whose weights are all zero."
        )
    return found


def _has_dead_output(layer: nn.Module) -> bool:
    weight = cast(Tensor, layer.weight).detach()
    outputs = weight.T if isinstance(layer, Conv1D) else weight
    return bool((outputs.flatten(1) == 0).all(dim=1).any())
