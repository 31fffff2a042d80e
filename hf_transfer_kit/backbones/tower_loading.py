"""One tower of a joint checkpoint, loaded as a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModel, PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.checkpoints import checkpoint_config, loaded_weights, of_own_precision, torch_dtype
from hf_transfer_kit.backbones.joint_towers import joint_reads
from hf_transfer_kit.backbones.new_heads import checked_labels, replace_head
from hf_transfer_kit.backbones.seeded_eval_mode import seeded
from hf_transfer_kit.backbones.tower_classifier import tower_classifier


@checked_arguments()
def load_tower_classifier(
    name_or_path: str | Path,
    *,
    id2label: Mapping[int, str],
    pretrained: bool = True,
    trust_remote_code: bool = False,
    revision: str | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> PreTrainedModel:
    """The seeing or hearing tower of a joint checkpoint (CLIP, SigLIP, ALIGN, CLAP) as a classifier with a fresh head.

    Unlike transformers' own classifiers of such checkpoints its last layer reads what the towers compare, so that
    ``class_embeddings`` fit it; see ``TowerForClassification``.

    Args:
        name_or_path: A Hub name or a local folder.
        id2label: Class index -> name.
        pretrained: As in ``load_model``, like the rest.
        trust_remote_code: As above.
        revision: As above.
        seed: As above.
        dtype: As above.

    Raises:
        ModelError: When there is no such checkpoint, or it has no two towers.

    Example:
        >>> classifier = load_tower_classifier(clip_folder, id2label={0: "zebra", 1: "horse"})
        >>> classifier(pixel_values=torch.zeros(2, 3, 32, 32)).logits.shape
        torch.Size([2, 2])
    """
    name = str(name_or_path)
    id2label = checked_labels(None, id2label)
    config = checkpoint_config(name, pretrained=pretrained, trust_remote_code=trust_remote_code, revision=revision)
    reads = joint_reads(config, name)
    with seeded(seed):
        if pretrained:
            joint = loaded_weights(
                AutoModel, name, config, trust_remote_code=trust_remote_code, revision=revision, dtype=dtype
            )
        else:
            kept = torch_dtype(dtype) or getattr(config, "dtype", None) or torch.float32
            joint = AutoModel.from_config(config, trust_remote_code=trust_remote_code, dtype=kept)
    model = tower_classifier(joint, reads, seed=seed)
    replace_head(model, id2label=id2label, seed=seed)
    model.name_or_path = name if pretrained else ""
    return of_own_precision(model).eval()
