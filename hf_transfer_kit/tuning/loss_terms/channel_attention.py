"""Which channels of a feature map matter to a new task: those whose loss hurts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from hf_transfer_kit.backbones.feature_maps import FeatureMaps, channel_axis, head_input, pooled
from hf_transfer_kit.tuning.loss_terms.loss_term import label_argument_names
from hf_transfer_kit.tuning.loss_terms.training_rows import batches, class_labels, spread_rows


def attention_weights(losses_without: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """W = softmax over channels of L(without channel c) - L (Li et al. 2019): a distribution, of shape (C,)."""
    return torch.softmax(losses_without - loss, dim=0)


def channel_attention(
    source: nn.Module, names: Mapping[str, Sequence[str]], train_dataloader: DataLoader, *, rows: int
) -> dict[str, list[float]]:
    """Attention weights of each map's channels, from a few rows of the training data.

    A linear head is fitted to the source's features of these rows; then each channel is set to zero in turn.

    Args:
        source: The frozen network, in evaluation mode.
        names: Map name -> qualified names of the modules of which the last to run gives the map.
        train_dataloader: The training's; only its dataset and collator are used.
        rows: How many rows, spread evenly over the data.

    Returns:
        Map name -> one weight a channel; they sum to 1.

    Raises:
        DataError: When the data is a stream or its labels are no class indices.
    """
    indices = spread_rows(train_dataloader, "DELTA(attention='loss')", rows)
    device = next(source.parameters()).device
    data = list(batches(train_dataloader, indices, batch_size=train_dataloader.batch_size or 8, device=device))
    labels = torch.cat([class_labels(batch, "DELTA(attention='loss')") for batch in data])
    ignored = label_argument_names(source)
    inputs = [{n: v for n, v in batch.items() if n not in ignored} for batch in data]
    with torch.no_grad():
        features, sizes = _features(source, names, inputs)
    head = fitted_head(features, labels)
    result = {}
    with torch.no_grad():
        loss = F.cross_entropy(head(features), labels)
        for name, (channels, axis) in sizes.items():
            without = torch.stack(
                [
                    F.cross_entropy(head(_features_without(source, names[name], channel, axis, inputs)), labels)
                    for channel in range(channels)
                ]
            )
            result[name] = attention_weights(without, loss).tolist()
    return result


def fitted_head(features: torch.Tensor, labels: torch.Tensor, *, decay: float = 1e-2, steps: int = 20) -> nn.Linear:
    """Logistic regression on (B, D) features from zero weights, by L-BFGS; draws no random numbers."""
    classes = int(labels.max()) + 1
    head = nn.utils.skip_init(nn.Linear, features.shape[1], classes, device=features.device, dtype=features.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(features), labels) + decay / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    return head


def _features(
    source: nn.Module, names: Mapping[str, Sequence[str]], inputs: list[dict[str, Any]]
) -> tuple[torch.Tensor, dict[str, tuple[int, int]]]:
    """Features in front of the head, (B, D), and of each map the number of its channels and their axis."""
    outputs = {name: [source.get_submodule(inner) for inner in inners] for name, inners in names.items()}
    maps = FeatureMaps(outputs=outputs, inputs={"": head_input(source)[1]})
    parts, sizes = [], {}
    for batch in inputs:
        maps.open()
        source(**batch)
        caught = maps.close()
        feature = caught.pop("")
        parts.append(pooled(feature, channel_axis(source, feature.dim())))
        for name, tensor in caught.items():
            axis = channel_axis(source, tensor.dim())
            sizes[name] = (tensor.shape[axis], axis)
    maps.remove()
    return torch.cat(parts), {name: sizes[name] for name in names}


def _features_without(
    source: nn.Module, modules: Sequence[str], channel: int, axis: int, inputs: list[dict[str, Any]]
) -> torch.Tensor:
    """Features in front of the head when one channel of the outputs of ``modules`` is zero."""
    handles = [source.get_submodule(name).register_forward_hook(_silencing(channel, axis)) for name in modules[-1:]]
    try:
        return _features(source, {}, inputs)[0]
    finally:
        for handle in handles:
            handle.remove()


def _silencing(channel: int, axis: int) -> Callable[[nn.Module, Any, Any], Any]:
    def silenced(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.index_fill(axis, torch.tensor([channel], device=value.device), 0.0)
        return type(value)((silenced(value[0]), *value[1:]))

    return lambda module, args, output: silenced(output)
