"""A classifier's weights from the names of its classes, by the text tower of a joint network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.checkpoints import checkpoint_config, loaded_weights
from hf_transfer_kit.backbones.joint_towers import joint_reads, joint_scale, side_features
from hf_transfer_kit.backbones.loading import load_processor
from hf_transfer_kit.errors import DataError, ModelError, SettingsError, first_line
from hf_transfer_kit.logs import get_logger

TEMPLATES = {
    "image": (
        "a photo of a {}.",
        "a photo of the {}.",
        "a picture of a {}.",
        "a close-up photo of a {}.",
        "a painting of a {}.",
        "a drawing of a {}.",
    ),
    "audio": ("the sound of a {}.", "this is the sound of {}.", "a recording of {}."),
}
"""What a tower reads -> prompts that class names are put into, for want of others."""
_NO_LIMIT = 10**6  # tokenizers that know no longest text name an even larger number
_ALIKE = 1e-3

logger = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class JointTowers:
    """Both towers of a checkpoint.

    Args:
        model: The network as ``AutoModel`` loads it.
        tokenizer: Of its text tower.
        reads: ``"image"`` or ``"audio"``, what the other tower takes.
    """

    model: PreTrainedModel
    tokenizer: Any
    reads: str

    @property
    def scale(self) -> float:
        """What cosines of both towers' features are multiplied by to be logits, above 0."""
        return joint_scale(self.model, self.reads)


@checked_arguments()
def load_towers(
    name_or_path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False
) -> JointTowers:
    """Loads both towers and the tokenizer of a checkpoint, in float32.

    Args:
        name_or_path: Hub name or local folder of CLIP, SigLIP, ALIGN, CLAP or another network with joint towers.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run code that comes with a Hub model.

    Raises:
        ModelError: When it has no text tower beside one for images or sounds, no scale of their cosines, or no
            tokenizer.

    Example:
        >>> load_towers(clip_folder).reads
        'image'
    """
    name = str(name_or_path)
    config = checkpoint_config(name, trust_remote_code=trust_remote_code, revision=revision)
    reads = joint_reads(config, name)
    tokenizer = load_processor(name, "text", revision=revision)
    model = loaded_weights(AutoModel, name, config, trust_remote_code=trust_remote_code, revision=revision)
    joint_scale(model, reads)
    return JointTowers(model.eval(), tokenizer, reads)


@checked_arguments()
def class_embeddings(
    names: Sequence[str], towers: JointTowers, *, templates: Sequence[str] | None = None, batch_size: int = 64
) -> Tensor:
    """Weights of a zero-shot classifier, from names alone: ``scale`` times the text features of each class.

    Every name is put into every template; the features of these prompts, each of length 1, are averaged and brought to
    length 1 again (Radford et al. 2021, ICML, section 3.1.4). With features x of length 1 of the other tower, x W^T are
    the network's own logits, without the bias that SigLIP adds to all of them alike: the largest, and a softmax, do not
    change by it, probabilities by a sigmoid do.

    For ``replace_head(init=...)`` of a classifier that ``load_tower_classifier`` gives, whose last layer reads x.
    The classifiers of transformers itself read something else: ``CLIPForImageClassification`` the mean of its patches,
    without ``post_layernorm``, ``SiglipForImageClassification`` that mean in place of its attention pooling. No map of
    W, the transposed ``visual_projection`` neither, makes the zero-shot classifier of these.

    Args:
        names: Of the classes; underscores and plus signs are spaces.
        towers: By ``load_towers``.
        templates: Each with ``{}`` where the name goes; default: ``TEMPLATES`` of what the network reads.
        batch_size: Prompts of a forward.

    Returns:
        W, float64 (C, D).

    Raises:
        SettingsError: When there is no template, or one without ``{}``.
        DataError: When there is no name, or an empty one.
        ModelError: When the tokenizer does not tell the prompts apart, or the text tower does not read its tokens.

    Example:
        >>> rows = class_embeddings(["zebra", "horse"], towers, templates=["a photo of a {}."])
        >>> rows.shape, rows.dtype
        (torch.Size([2, 6]), torch.float64)
    """
    templates = checked_templates(TEMPLATES[towers.reads] if templates is None else templates)
    words = [str(name).replace("_", " ").replace("+", " ").strip() for name in names]
    if not words or not all(words):
        raise DataError(f"Class names are {list(names)!r}: give at least one, and none that is empty.")
    prompts = [template.replace("{}", word) for word in words for template in templates]
    features = _text_features(prompts, towers, batch_size).reshape(len(words), len(templates), -1)
    return towers.scale * nn.functional.normalize(features.mean(dim=1), dim=-1)


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates.

    Raises:
        SettingsError: When there is none, or one without ``{}``.

    Example:
        >>> checked_templates(["a photo of a {}."])
        ('a photo of a {}.',)
    """
    templates = (templates,) if isinstance(templates, str) else tuple(templates)
    if without := [template for template in templates if "{}" not in template]:
        raise SettingsError(f"The template {without[0]!r} has no {{}}, the place where the name of a class goes.")
    if not templates:
        raise SettingsError("There is no template: give at least one, such as 'a photo of a {}.'.")
    return templates


@torch.no_grad()
def _text_features(prompts: Sequence[str], towers: JointTowers, batch_size: int) -> Tensor:
    """Of length 1, float64 (N, D)."""
    longest = _longest(towers)
    padding = _padding(prompts, towers, longest)
    was_training = towers.model.training
    towers.model.eval()
    try:
        return torch.cat([
            _embedded(towers, _tokens(towers, prompts[start : start + batch_size], longest, padding))
            for start in range(0, len(prompts), batch_size)
        ])  # fmt: skip
    finally:
        towers.model.train(was_training)


def _longest(towers: JointTowers) -> int:
    """Tokens of the longest text that the text tower reads."""
    config = getattr(towers.model.config, "text_config", towers.model.config)
    known = (getattr(config, "max_position_embeddings", None), getattr(towers.tokenizer, "model_max_length", None))
    return min((limit for limit in known if isinstance(limit, int) and limit < _NO_LIMIT), default=_NO_LIMIT)


def _padding(prompts: Sequence[str], towers: JointTowers, longest: int) -> str:
    """``"longest"``, or ``"max_length"`` for text towers that padding changes, such as SigLIP's.

    Those read the last position, whatever stands there, and learned on texts padded to full length.
    """
    rows = towers.tokenizer(list(prompts), truncation=False)["input_ids"]
    first_of: dict[tuple[int, ...], str] = {}
    for row, prompt in zip(rows, prompts, strict=True):
        if (other := first_of.setdefault(tuple(row), prompt)) != prompt:
            raise ModelError(
                f"The tokenizer makes the same tokens of {other!r} and {prompt!r}: it does not know these words, "
                "or what tells them apart. Save the checkpoint's own beside its weights, or give names that differ."
            )
    if long := [prompt for row, prompt in zip(rows, prompts, strict=True) if len(row) > longest]:
        logger.warning(
            f"{len(long)} of {len(prompts)} prompts are longer than the {longest} tokens that the text tower reads; "
            f"their ends are cut, of {long[0]!r} for one. Shorten the names or the templates."
        )
    first, length = prompts[:1], min(len(rows[0]) + 1, longest)
    if longest == _NO_LIMIT or length <= len(rows[0]):
        return "longest"
    alone = _embedded(towers, _tokens(towers, first, longest, "longest"))
    padded = _embedded(towers, _tokens(towers, first, length, "max_length"))
    return "longest" if (alone - padded).abs().max() < _ALIKE else "max_length"


def _tokens(towers: JointTowers, prompts: Sequence[str], length: int, padding: str) -> dict[str, Tensor]:
    limit = {} if length == _NO_LIMIT else {"truncation": True, "max_length": length}
    tokens = towers.tokenizer(list(prompts), padding=padding, return_tensors="pt", **limit)
    accepted = signature(cast(Any, towers.model).get_text_features).parameters
    return {name: value.to(towers.model.device) for name, value in tokens.items() if name in accepted}


def _embedded(towers: JointTowers, tokens: dict[str, Tensor]) -> Tensor:
    try:
        return side_features(towers.model, "text", **tokens).double().cpu()
    except (IndexError, RuntimeError) as error:
        raise ModelError(
            f"The text tower of {type(towers.model).__name__} does not read what its tokenizer gives "
            f"({first_line(error)}). Save the checkpoint's own tokenizer beside its weights."
        ) from error
