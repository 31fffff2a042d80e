"""Transcripts in a race: nothing is spelled where a sound is padding, and each row's loss is of its own positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hf_transfer_kit.backbones.feature_maps import position_mask
from hf_transfer_kit.backbones.unwrapping import plain_model
from hf_transfer_kit.data import PreparedData
from hf_transfer_kit.data.collating import NOT_LABELLED, WaveCollator
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.multitask.heads.ctc import transcript_losses


def spell_no_padding(model: nn.Module) -> None:
    """Makes a network for CTC, in place, give the logits -100 where a row is padding, as Trainer pads rows.

    Networks that are given no mask hear their padding as silence, and stay as they are.

    Example:
        >>> spell_no_padding(model)
        >>> spell_no_padding(model)  # once is enough
        >>> len(model._forward_hooks)
        1
    """
    if _without_padding not in model._forward_hooks.values():
        model.register_forward_hook(_without_padding, with_kwargs=True)


def _without_padding(model: nn.Module, args: tuple, inputs: Mapping[str, Any], output: Any) -> Any:
    """A function of the module alone, so that copies of it, also in other processes, keep their own."""
    if output["logits"].dim() != 3:
        return output  # no network for CTC, which is refused with its name
    mask = position_mask(model, inputs.get("attention_mask"), output["logits"].shape[1])  # (R, T)
    if mask is not None:
        output["logits"] = output["logits"].masked_fill(~mask[..., None], NOT_LABELLED)
    return output


class TranscriptLoss:
    """A ``compute_loss_func`` for Trainer: CTC's negative log-likelihood (Graves et al. 2006) by symbol.

    It is the sum over a batch's rows by the number of their symbols: what is gathered over several batches adds up to
    the loss of all their rows together.
    """

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"]  # (R, T, C)
        lengths = (logits != NOT_LABELLED).any(dim=-1).sum(dim=1)
        each, sizes = transcript_losses(logits, labels, lengths)
        return each.sum() / (sizes.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def check_alignable(model: nn.Module, data: PreparedData) -> None:
    """Refuses training rows that are too short for their transcript: CTC learns nothing of them and would not say so.

    Each symbol takes a position, and two equal ones after another take a third between them. Only networks that read
    waves tell how many positions they make of one.

    Raises:
        DataError: With the first such row and how many there are.
    """
    positions_of = getattr(plain_model(model)[0], "_get_feat_extract_output_lengths", None)
    collator = data.collator
    if positions_of is None or not isinstance(collator, WaveCollator):
        return
    rows = range(len(data.train))
    samples = np.array([len(data.train[row]["wave"]) for row in rows])
    if not collator.extractor.return_attention_mask:
        samples = np.maximum(samples, collator.longest or samples.max())
    positions = cast(Tensor, positions_of(torch.as_tensor(samples))).tolist()
    labels = [np.asarray(data.train[row]["labels"]) for row in rows]
    needed = [len(symbols) + int((symbols[1:] == symbols[:-1]).sum()) for symbols in labels]
    short = [row for row in rows if needed[row] > positions[row]]
    if short:
        row = short[0]
        spelled = "".join(data.label_names[symbol] for symbol in labels[row])
        raise DataError(
            f"{len(short)} of {len(rows)} training rows are too short for their transcripts, first row {row}: "
            f"{spelled[:40]!r} takes {needed[row]} positions, but the network makes {positions[row]} of its "
            f"{samples[row] / collator.extractor.sampling_rate:.2f} seconds. Raise max_seconds where it cuts them, "
            "drop such rows, or choose a network with more positions a second."
        )
