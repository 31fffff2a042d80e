"""What a LoRA adapter adds to its layer, s B A, measured without ever forming it.

|s B A|_F^2 = s^2 tr((B^T B)(A A^T)) needs only the r x r Gramians of A, of shape (r, in), and B, of shape (out, r).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hf_transfer_kit.backbones.shards import gathered
from hf_transfer_kit.errors import SettingsError

# Initialisations that take the adapter's starting value out of the frozen weight: s B A is not the distance then.
_SHIFTED = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")


@dataclass(frozen=True, eq=False)
class LoRAPair:
    """One adapter of one linear layer.

    Args:
        layer: Qualified name of the layer.
        a: Weight A of shape (r, in), with its qualified name ``a_name``.
        b: Weight B of shape (out, r), with its qualified name ``b_name``.
        scaling: The factor s on B A.
    """

    layer: str
    a_name: str
    b_name: str
    a: nn.Parameter
    b: nn.Parameter
    scaling: float

    def squared(self) -> Tensor:
        """|s B A|_F^2 as it is now."""
        return delta_squared(*self._factors(), self.scaling)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """As of ``delta_gradients``, as they are now: whole also where A and B are sharded."""
        return delta_gradients(*self._factors(), self.scaling)

    def _factors(self) -> tuple[Tensor, Tensor]:
        return gathered(self.a.detach()), gathered(self.b.detach())


def delta_squared(a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """|s B A|_F^2, a scalar."""
    return scaling**2 * ((b.mT @ b) * (a @ a.mT)).sum()


def delta_gradients(a: Tensor, b: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Gradients of |s B A|_F^2 / 2 in A and in B: s^2 (B^T B) A and s^2 B (A A^T)."""
    return scaling**2 * ((b.mT @ b) @ a), scaling**2 * (b @ (a @ a.mT))


def lora_pairs(model: nn.Module) -> list[LoRAPair]:
    """The active LoRA pairs of a peft model; none for a model without peft.

    Raises:
        SettingsError: When the model has an adapter whose distance from the pretrained weights is not s B A of a
            linear layer; the module is named.
    """
    peft_model: Any = next((m for m in model.modules() if hasattr(m, "peft_config") and hasattr(m, "base_model")), None)
    if peft_model is None:
        return []
    names = list(getattr(peft_model, "active_adapters", peft_model.peft_config))
    for name in names:
        _check_config(name, peft_model.peft_config[name])
    pairs = []
    for layer_name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "lora_B"):
            pairs += [_pair(layer_name, layer, name) for name in names if _holds(layer, name)]
            if sum(name in layer.lora_A for name in names) > 1:
                raise _refusal(layer_name, f"has several active adapters ({', '.join(names)}); activate one")
    return pairs


def _holds(layer: nn.Module, name: str) -> bool:
    return any(name in getattr(layer, kind, ()) for kind in ("lora_A", "lora_embedding_A"))


def _pair(layer_name: str, layer: Any, name: str) -> LoRAPair:
    if name not in layer.lora_A or not all(isinstance(part[name], nn.Linear) for part in (layer.lora_A, layer.lora_B)):
        raise _refusal(layer_name, f"is a {type(layer).__name__}, whose A and B are not those of a linear layer")
    if name in getattr(layer, "lora_variant", {}) or name in getattr(layer, "lora_magnitude_vector", {}):
        raise _refusal(layer_name, "uses a variant such as DoRA, which rescales the pretrained weight as well")
    if layer.lora_B[name].bias is not None:
        raise _refusal(layer_name, "trains a bias inside the adapter (lora_bias=True)")
    return LoRAPair(
        layer_name,
        f"{layer_name}.lora_A.{name}.weight",
        f"{layer_name}.lora_B.{name}.weight",
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        float(layer.scaling[name]),
    )


def _check_config(name: str, config: Any) -> None:
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise SettingsError(
            f"The adapter {name!r} is of type {kind}: only LoRA's distance from the pretrained weights, s B A, is "
            "known. Train it without this callback."
        )
    start = config.init_lora_weights
    if isinstance(start, str) and start.lower().startswith(_SHIFTED):
        raise SettingsError(
            f"The adapter {name!r} starts with init_lora_weights={start!r}, which changes the frozen weights, so s B A "
            "is not the distance from the pretrained ones. Use init_lora_weights=True."
        )


def _refusal(layer: str, finding: str) -> SettingsError:
    return SettingsError(
        f"The LoRA layer {layer!r} {finding}. The penalty on the merged delta s B A is defined for plain LoRA on "
        "linear layers only: choose such target_modules, or train without this callback."
    )
