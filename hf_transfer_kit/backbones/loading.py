"""Classifiers and their processors, from the Hub, a folder, timm's, torchvision's or the kit's names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.utils import cached_file
from transformers.utils.generic import is_timm_config_dict, is_timm_local_checkpoint

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.auto_classes import (
    TASK_CLASSES,
    classifier_class,
    classifier_modalities,
    classifier_modality,
    task_class,
)
from hf_transfer_kit.backbones.checkpoints import (
    DTYPES,
    TORCHVISION,
    checkpoint_config,
    drawn_parts,
    loaded_weights,
    of_own_precision,
    torch_dtype,
)
from hf_transfer_kit.backbones.fresh_networks import FRESH_NETWORKS, fresh_network, fresh_processor
from hf_transfer_kit.backbones.joint_towers import joint_modality
from hf_transfer_kit.backbones.modality import modality_of
from hf_transfer_kit.backbones.new_heads import checked_labels, replace_head
from hf_transfer_kit.backbones.pooled_encoder import PooledEncoderConfig, pooled_encoder, repool
from hf_transfer_kit.backbones.pooled_sounds import pooled_sounds
from hf_transfer_kit.backbones.pooling import POOLINGS
from hf_transfer_kit.backbones.text_pooling import own_pooling
from hf_transfer_kit.backbones.torchvision_networks import torchvision_processor
from hf_transfer_kit.backbones.tower_loading import load_tower_classifier
from hf_transfer_kit.backbones.windows import fit_window, window_frames
from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.logs import get_logger
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.options import check_choice, check_number
from hf_transfer_kit.task_types import CLASSIFICATION, check_task_type
from hf_transfer_kit.values.windows import with_window

logger = get_logger(__name__)

TEXT_POOLINGS = ("auto", "classifier", *POOLINGS)
"""What a classifier's head may read of an encoder of texts."""
_PROCESSORS = {"image": "AutoImageProcessor", "text": "AutoTokenizer", "audio": "AutoFeatureExtractor"}


@checked_arguments()
def load_model(
    name_or_path: str | Path,
    *,
    num_labels: int | None = None,
    id2label: Mapping[int, str] | None = None,
    modality: str | None = None,
    pretrained: bool = True,
    trust_remote_code: bool = False,
    revision: str | None = None,
    seed: int = 0,
    dtype: str = "float32",
    trained_head: bool = False,
    task_type: str = CLASSIFICATION,
    pooling: str = "auto",
    max_seconds: float | None = None,
    weighted_layers: bool = False,
) -> PreTrainedModel:
    """Loads a pretrained network as a classifier of the given classes, with a fresh head.

    Args:
        name_or_path: A Hub name, a local folder with config.json and safetensors, ``timm/NAME`` or
            ``torchvision/NAME``, or a small network with random weights by its name in ``FRESH_NETWORKS``.
        num_labels: Number of classes; None keeps the checkpoint's own head.
        id2label: Class index -> name, in place of ``num_labels``.
        modality: ``"image"``, ``"text"`` or ``"audio"``, for the few architectures that can be more than one.
        pretrained: False keeps the architecture only, with random weights.
        trust_remote_code: Run code that comes with a Hub model.
        revision: Branch, tag or commit on the Hub.
        seed: Seed of the fresh head (and of all weights with ``pretrained=False``); the global state is not touched.
        dtype: ``"float32"`` whatever the checkpoint was stored in, for an optimizer loses small steps in half
            precision (mixed precision keeps float32 weights); ``"auto"`` as stored; ``"bfloat16"`` or ``"float16"``.
        trained_head: Whether the checkpoint's own head is wanted, and must be in it.
        task_type: What the classes are of, as in ``load_data``: with ``"token_classification"`` of each word of a text
            (transformers' token classifier), with ``"ctc"`` the symbols that a sound spells, the first of them the
            blank (its network for CTC); other types are a classifier's.
        pooling: What a classifier's head reads of an encoder of texts or sounds: ``"mean"``, ``"first"``, ``"last"``,
            ``"max"`` or ``"statistics"`` (mean and standard deviation) of its positions
            (``PooledEncoderForSequenceClassification``, ``PooledSoundsForAudioClassification``), or with
            ``"classifier"`` what transformers' classifier of the architecture reads. ``"auto"`` is the pooling that an
            encoder of sentences names in a file of its own (of sentence-transformers), and without one
            ``"classifier"``.
        max_seconds: Longest sound to be heard, for networks that hear windows of one length (Whisper's 30 seconds):
            the window is cut to so many whole seconds (``fit_window``). None leaves it.
        weighted_layers: Whether a fresh head of sounds reads a weighted sum of all layers, whose weights learn with it
            (transformers' ``use_weighted_layer_sum``, as in SUPERB), not the last one.

    Raises:
        SettingsError: When ``dtype``, ``task_type`` or ``pooling`` is unknown, a pooling is asked for where a head is
            kept, ``max_seconds`` of a network without a window, or beyond it, or ``weighted_layers`` of one whose head
            reads one layer.
        ModelError: When there is no such model, its files are missing or unsafe, it is no architecture with a
            classifier, its weights do not fit its architecture, or a head that was wanted is not among them.

    Example:
        >>> model.save_pretrained("checkpoint")
        >>> loaded = load_model("checkpoint", id2label={0: "cat", 1: "dog"}, seed=0)
        >>> loaded.config.num_labels
        2
    """
    if dtype not in DTYPES:
        raise SettingsError(
            f"dtype={dtype!r} is unknown; choose {', '.join(map(repr, DTYPES))}.{did_you_mean(dtype, DTYPES)}"
        )
    check_task_type(task_type)
    check_choice("load_model", "pooling", pooling, TEXT_POOLINGS)
    name = str(name_or_path)
    if name in FRESH_NETWORKS:
        _refuse_sound_options(name, max_seconds, weighted_layers)
        if trained_head:
            raise ModelError(f"{name} has no trained head: it begins with random weights. Give a saved classifier.")
        classes = checked_labels(2 if (num_labels, id2label) == (None, None) else num_labels, id2label)
        network = fresh_network(name, list(classes.values()), seed=seed, task_type=task_type)
        network.to(dtype=torch_dtype(dtype) or torch.float32)  # type: ignore[call-arg]  # its decorator hides self
        return of_own_precision(network).eval()
    config = checkpoint_config(name, pretrained=pretrained, trust_remote_code=trust_remote_code, revision=revision)
    towers = joint_modality(config) in ({modality} if modality else {"image", "audio"})
    if task_type in TASK_CLASSES:
        auto: type[_BaseAutoModelClass] = task_class(config, name, task_type)
    elif towers and not classifier_modalities(config):
        if trained_head:
            raise ModelError(
                f"{name} has no trained head: it joins two towers. Give a checkpoint saved as a classifier."
            )
        _refuse_sound_options(name, max_seconds, weighted_layers)
        return load_tower_classifier(
            name,
            id2label=checked_labels(2 if (num_labels, id2label) == (None, None) else num_labels, id2label),
            pretrained=pretrained,
            trust_remote_code=trust_remote_code,
            revision=revision,
            seed=seed,
            dtype=dtype,
        )
    else:
        auto = classifier_class(classifier_modality(config, name, modality))
    if weighted_layers and task_type not in TASK_CLASSES and hasattr(config, "use_weighted_layer_sum"):
        config.use_weighted_layer_sum = True
    elif weighted_layers:
        _refuse_sound_options(name, None, weighted_layers)
    if getattr(config, "use_weighted_layer_sum", False):
        # A layer that layerdrop leaves out gives no state to weigh: the forward of training would fail.
        config.layerdrop = config.encoder_layerdrop = 0.0
    fresh_head = num_labels is not None or id2label is not None
    if fresh_head:
        checked_labels(num_labels, id2label)
    of_texts = auto is classifier_class("text")
    pools = (of_texts or auto is classifier_class("audio")) and task_type not in TASK_CLASSES
    if pooling not in ("auto", "classifier") and not (fresh_head and pools):
        raise SettingsError(
            f"pooling={pooling!r} is of texts or sounds that a fresh head classifies, and {name} is loaded for "
            "something else. Leave it out."
        )
    if weighted_layers and pooling not in ("auto", "classifier"):
        raise SettingsError(f"pooling={pooling!r} reads the last layer, and weighted_layers all: leave one out.")
    # Sounds have no such file, and none is asked for.
    asks = pools and fresh_head and (of_texts or pooling != "auto")
    pooled = _pooling(pooling, name, config, revision) if asks else None
    if pooled is not None and of_texts and not isinstance(config, PooledEncoderConfig):
        auto = AutoModel
    if fresh_head and not _has_own_head(config):
        # A bare encoder: its head is made with the right width at once.
        config.num_labels = num_labels or len(id2label or ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if pretrained:
            model = loaded_weights(
                auto,
                name,
                config,
                trust_remote_code=trust_remote_code,
                revision=revision,
                dtype=dtype,
                trained_head=trained_head,
            )
        else:
            kept = torch_dtype(dtype) or getattr(config, "dtype", None) or torch.float32
            model = auto.from_config(config, trust_remote_code=trust_remote_code, dtype=kept)
    if pooled is not None:
        model = _pooled(model, pooled, seed=seed)
    if drawn := drawn_parts(model):
        logger.warning(
            f"{name} has no weights of {', '.join(drawn)}: what its classifier reads begins at random. Another pooling "
            'of the positions needs none: pooling="mean" of load_model, --pooling mean.'
        )
    if fresh_head:
        replace_head(model, num_labels, id2label=id2label, seed=seed)
    if max_seconds is not None:
        _cut(model, name, max_seconds, revision)
    if not pretrained:
        model.name_or_path = ""  # it has nothing of the checkpoint's weights
    return of_own_precision(model).eval()


@checked_arguments()
def load_processor(name_or_path: str | Path, modality: str, *, revision: str | None = None) -> object:
    """The checkpoint's image processor, tokenizer or feature extractor.

    A speech checkpoint without one gets Wav2Vec2's (16 kHz, zero mean and unit variance).

    Raises:
        ModelError: When it cannot be loaded.
        SettingsError: When the modality is unknown.

    Example:
        >>> _ = processor.save_pretrained("checkpoint")
        >>> load_processor("checkpoint", "image").size["height"]
        32
    """
    name = str(name_or_path)
    if modality not in _PROCESSORS:
        raise SettingsError(
            f"modality={modality!r} is unknown; choose {', '.join(map(repr, _PROCESSORS))}."
            f"{did_you_mean(modality, _PROCESSORS)}"
        )
    if name in FRESH_NETWORKS:
        return fresh_processor(name)
    if name.startswith(TORCHVISION):
        return torchvision_processor(name.removeprefix(TORCHVISION))
    try:
        if modality == "image" and _is_timm(name, revision):
            # AutoImageProcessor would warn of a torchvision that is missing: timm's processor has no second version.
            return cast(Any, transformers.TimmWrapperImageProcessor).from_pretrained(name, revision=revision)
        return getattr(transformers, _PROCESSORS[modality]).from_pretrained(name, revision=revision)
    except (OSError, ValueError, TypeError, KeyError, HfHubHTTPError, HFValidationError) as error:
        if modality == "audio" and os.path.isdir(name):
            return transformers.Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)
        raise ModelError(
            f"{name} has no {modality} processor that {_PROCESSORS[modality]} can load ({first_line(error)}). "
            "Save the checkpoint's processor beside its weights."
        ) from error


def _cut(model: PreTrainedModel, name: str, max_seconds: float, revision: str | None) -> None:
    """Cuts the network's window to sounds of so many seconds."""
    check_number("load_model", "max_seconds", max_seconds, low=0, above=True)
    if window_frames(model) is None:
        _refuse_sound_options(type(model).__name__, max_seconds, False)
    fit_window(model, with_window(load_processor(name, "audio", revision=revision), max_seconds))


def _refuse_sound_options(network: str, max_seconds: float | None, weighted_layers: bool) -> None:
    """Refuses options of networks of sounds where they would do nothing."""
    if max_seconds is not None:
        raise SettingsError(
            f"max_seconds={max_seconds} was given, but {network} has no window of one length that could be cut. Leave "
            "it out."
        )
    if weighted_layers:
        raise SettingsError(
            f"weighted_layers was given, but the head of {network} reads one layer: transformers' classifiers of "
            "sounds can read a sum of all. Leave it out."
        )


def _pooled(model: PreTrainedModel, pooling: str, *, seed: int) -> PreTrainedModel:
    """A classifier on the pooled positions of what was loaded."""
    if isinstance(model.config, PooledEncoderConfig):
        repool(model, pooling)
        return model
    made = pooled_sounds if modality_of(model) == "audio" else pooled_encoder
    pooled = made(model, pooling, seed=seed)
    pooled.name_or_path = model.name_or_path
    return pooled


def _pooling(asked: str, name: str, config: PreTrainedConfig, revision: str | None) -> str | None:
    """The pooling that a fresh head of texts reads; None for what transformers' classifier reads."""
    if asked != "auto":
        return None if asked == "classifier" else asked
    if _has_own_head(config) or config.is_encoder_decoder:
        return None
    return own_pooling(name, revision=revision)


def _is_timm(name: str, revision: str | None) -> bool:
    """Whether AutoImageProcessor would read timm's processor from the checkpoint's config.json."""
    if os.path.isdir(name):
        return is_timm_local_checkpoint(name)
    own = cached_file(name, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    return own is None and is_timm_config_dict(PreTrainedConfig.get_config_dict(name, revision=revision)[0])


def _has_own_head(config: PreTrainedConfig) -> bool:
    """Whether the checkpoint was saved by a classifier, so that its head has weights to load."""
    return any("Classification" in architecture for architecture in (config.architectures or ()))
