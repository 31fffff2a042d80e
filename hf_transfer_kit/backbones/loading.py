"""Pretrained classifiers and their processors, from the Hub, a folder, or timm's names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.utils import cached_file
from transformers.utils.generic import is_timm_config_dict, is_timm_local_checkpoint

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.heads import find_head
from hf_transfer_kit.backbones.joint_towers import joint_modality, joint_reads
from hf_transfer_kit.backbones.new_heads import checked_labels, replace_head
from hf_transfer_kit.backbones.seeded_eval_mode import seeded
from hf_transfer_kit.backbones.torchvision_networks import (
    TorchvisionConfig,
    torchvision_config,
    torchvision_processor,
    torchvision_weights,
)
from hf_transfer_kit.backbones.tower_classifier import tower_classifier
from hf_transfer_kit.errors import ModelError, SettingsError, first_line
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.task_types import CLASSIFICATION, TOKEN_CLASSIFICATION, check_task_type

DTYPES = ("auto", "float32", "bfloat16", "float16")
_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_TORCHVISION = "torchvision/"

_CLASSIFIERS = {
    "image": "AutoModelForImageClassification",
    "text": "AutoModelForSequenceClassification",
    "audio": "AutoModelForAudioClassification",
}
_MAPPINGS = {
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "text": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING",
}
TASK_CLASSES = {
    TOKEN_CLASSIFICATION: ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING"),
    "ctc": ("AutoModelForCTC", "MODEL_FOR_CTC_MAPPING"),
}
"""Type of task -> Auto class of its networks, and transformers' mapping; of other types it is the classifier's."""
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
) -> PreTrainedModel:
    """Loads a pretrained network as a classifier of the given classes, with a fresh head.

    Args:
        name_or_path: A Hub name, a local folder with config.json and safetensors, ``timm/NAME`` or
            ``torchvision/NAME``.
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

    Raises:
        SettingsError: When ``dtype`` or ``task_type`` is unknown.
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
    name = str(name_or_path)
    config = checkpoint_config(name, pretrained=pretrained, trust_remote_code=trust_remote_code, revision=revision)
    towers = joint_modality(config) in ({modality} if modality else {"image", "audio"})
    if task_type in TASK_CLASSES:
        auto: type[_BaseAutoModelClass] = task_class(config, name, task_type)
    elif towers and not classifier_modalities(config):
        if trained_head:
            raise ModelError(
                f"{name} has no trained head: it joins two towers. Give a checkpoint saved as a classifier."
            )
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
        auto = classifier_class(_classifier_modality(config, name, modality))
    if getattr(config, "use_weighted_layer_sum", False):
        # A layer that layerdrop leaves out gives no state to weigh: the forward of training would fail.
        config.layerdrop = 0.0
    fresh_head = num_labels is not None or id2label is not None
    if fresh_head:
        checked_labels(num_labels, id2label)
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
            kept = _torch_dtype(dtype) or getattr(config, "dtype", None) or torch.float32
            model = auto.from_config(config, trust_remote_code=trust_remote_code, dtype=kept)
    if fresh_head:
        replace_head(model, num_labels, id2label=id2label, seed=seed)
    if not pretrained:
        model.name_or_path = ""  # it has nothing of the checkpoint's weights
    if model.dtype != torch.float32:
        model.register_forward_pre_hook(_inputs_of_own_precision, with_kwargs=True)
    return model.eval()


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
            kept = _torch_dtype(dtype) or getattr(config, "dtype", None) or torch.float32
            joint = AutoModel.from_config(config, trust_remote_code=trust_remote_code, dtype=kept)
    model = tower_classifier(joint, reads, seed=seed)
    replace_head(model, id2label=id2label, seed=seed)
    model.name_or_path = name if pretrained else ""
    if model.dtype != torch.float32:
        model.register_forward_pre_hook(_inputs_of_own_precision, with_kwargs=True)
    return model.eval()


def _inputs_of_own_precision(model: PreTrainedModel, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Images and sounds are prepared in float32; a network in half precision reads them in its own."""

    def converted(name: str, value: Any) -> Any:
        is_input = isinstance(value, torch.Tensor) and value.is_floating_point() and "label" not in name
        return value.to(model.dtype) if is_input else value

    return tuple(converted("", value) for value in args), {
        name: converted(name, value) for name, value in kwargs.items()
    }


def stored_dtype(name_or_path: str | Path, *, trust_remote_code: bool = False, revision: str | None = None) -> str:
    """The precision that most of a checkpoint's tensors are stored in: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    It is read off the weights where they are on this machine, else off the config.

    Example:
        >>> model.half().save_pretrained("checkpoint")
        >>> stored_dtype("checkpoint")
        'float16'
    """
    name = str(name_or_path)
    config = checkpoint_config(name, pretrained=True, trust_remote_code=trust_remote_code, revision=revision)
    found: Counter[str] = Counter()
    if (file := _weights_here(name, revision)) is not None:
        try:
            with safe_open(file, framework="pt") as tensors:
                found = Counter(_STORED.get(tensors.get_slice(key).get_dtype(), "") for key in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"The weights of {name} cannot be read: {first_line(error)}. If the file is damaged, copy or download "
                "it anew."
            ) from error
    named = found.most_common(1)[0][0] if found else str(getattr(config, "dtype", None)).removeprefix("torch.")
    return named if named in DTYPES and named != "auto" else "float32"


def _weights_here(name: str, revision: str | None) -> Path | None:
    """A file of a checkpoint's weights, of a folder or of the Hub's cache."""
    if os.path.isdir(name):
        return next(iter(sorted(Path(name).glob("*.safetensors"))), None)
    try:
        cached = try_to_load_from_cache(name, "model.safetensors", revision=revision)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


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
    if name.startswith(_TORCHVISION):
        return torchvision_processor(name.removeprefix(_TORCHVISION))
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


def _is_timm(name: str, revision: str | None) -> bool:
    """Whether AutoImageProcessor would read timm's processor from the checkpoint's config.json."""
    if os.path.isdir(name):
        return is_timm_local_checkpoint(name)
    own = cached_file(name, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    return own is None and is_timm_config_dict(PreTrainedConfig.get_config_dict(name, revision=revision)[0])


def checkpoint_config(
    name: str, *, pretrained: bool = True, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        ModelError: When there is none, it cannot be read, or there are no safe weights beside it.
        SettingsError: When a folder is given with a revision.

    Example:
        >>> model.save_pretrained("checkpoint")
        >>> checkpoint_config("checkpoint").model_type
        'resnet'
    """
    path = Path(name)
    looks_local = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    is_folder = os.path.isdir(name)  # where Path.is_dir raises, of a name that is too long, it says no
    if looks_local and not os.path.exists(name):
        raise ModelError(f"There is no model at {name}: the path does not exist.")
    if is_folder and not (path / "config.json").is_file():
        raise ModelError(f"The folder {name} holds no config.json, so it is no saved model.")
    if is_folder and pretrained and not any(path.glob("*.safetensors")):
        raise ModelError(
            f"The folder {name} holds no .safetensors file. Weights in pickle form are not loaded; save them with "
            "save_pretrained, or start from random weights with pretrained=False."
        )
    if name.startswith("timm/") and not pretrained:
        return transformers.TimmWrapperConfig(architecture=name.removeprefix("timm/").split(".")[0], do_pooling=True)
    if name.startswith(_TORCHVISION):
        return torchvision_config(name.removeprefix(_TORCHVISION), pretrained=pretrained)
    if is_folder and revision is not None:
        raise SettingsError(
            f"The folder {name} has no revisions, but revision={revision!r} was given. Leave it out, or name a "
            "repository on the Hub."
        )
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)
    except Exception as error:  # each class of configurations says in its own way what it does not take
        if is_folder:
            raise ModelError(
                f"The config.json of {name} cannot be read: {first_line(error)}. Give a folder that save_pretrained "
                "has written."
            ) from error
        if not isinstance(error, (OSError, ValueError, HfHubHTTPError, HFValidationError)):
            raise
        raise ModelError(
            f"{name} is no local folder and could not be loaded from the Hub ({first_line(error)}). Check the name, "
            "the connection, and for a private model the login."
        ) from error


def classifier_class(modality: str) -> type[_BaseAutoModelClass]:
    """transformers' Auto class of classifiers for images, texts or sounds."""
    return getattr(transformers, _CLASSIFIERS[modality])


def task_class(config: PreTrainedConfig, name: str, task_type: str) -> type[_BaseAutoModelClass]:
    """transformers' Auto class of networks for a type of ``TASK_CLASSES``.

    Raises:
        ModelError: When it has none of this architecture.
    """
    auto, mapping = TASK_CLASSES[task_type]
    if type(config) not in getattr(transformers, mapping):
        raise ModelError(
            f"{name} is a {config.model_type!r} model, which transformers has no {auto.removeprefix('Auto')} of, and "
            f"{task_type} needs one. Choose another network."
        )
    return getattr(transformers, auto)


def classifier_modalities(config: PreTrainedConfig) -> list[str]:
    """For what transformers has a classifier of this architecture; empty when for nothing."""
    if isinstance(config, (transformers.TimmWrapperConfig, TorchvisionConfig)):
        return ["image"]
    if config.model_type == "joint_tower":  # registered for both
        return [config.reads]
    return [kind for kind, mapping in _MAPPINGS.items() if type(config) in getattr(transformers, mapping)]


def _classifier_modality(config: PreTrainedConfig, name: str, modality: str | None) -> str:
    possible = classifier_modalities(config)
    if modality in possible:
        return modality
    if not possible or modality is not None:
        what = f"for {modality}" if modality else "for images, texts or sounds"
        raise ModelError(
            f"{name} is a {config.model_type!r} model, an architecture without a classifier {what} in transformers."
        )
    return possible[0]


def _has_own_head(config: PreTrainedConfig) -> bool:
    """Whether the checkpoint was saved by a classifier, so that its head has weights to load."""
    return any("Classification" in architecture for architecture in (config.architectures or ()))


def _torch_dtype(dtype: str) -> torch.dtype | None:
    """None for the stored one."""
    return None if dtype == "auto" else getattr(torch, dtype)


def loaded_weights(
    auto: Any,
    name: str,
    config: PreTrainedConfig,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    trained_head: bool = False,
) -> PreTrainedModel:
    """A checkpoint as a class of transformers' Auto classes; only a classifier's head may lack weights.

    Raises:
        ModelError: When the weights cannot be loaded, or do not fit the architecture.
    """
    if name.startswith(_TORCHVISION):
        network: nn.Module = torchvision_weights(cast(TorchvisionConfig, config))
        network.to(_torch_dtype(dtype) or torch.float32)
        return cast(PreTrainedModel, network)
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # the report of missing keys is judged below
    progress_bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model, info = auto.from_pretrained(
            name,
            config=config,
            trust_remote_code=trust_remote_code,
            revision=revision,
            use_safetensors=True,
            output_loading_info=True,
            dtype=_torch_dtype(dtype) or "auto",
        )
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError, HfHubHTTPError) as error:
        raise ModelError(
            f"The weights of {name} cannot be loaded: {first_line(error)}. If the files are damaged, copy or download "
            "them anew."
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if progress_bars:
            transformers.utils.logging.enable_progress_bar()
    head = tuple(find_head(model)) if auto is not AutoModel else ()
    missing = [key for key in info["missing_keys"] if not key.startswith(head) and not _is_optional(key)]
    if missing:
        raise ModelError(
            f"The weights of {name} do not fit its architecture {type(model).__name__}: {len(missing)} are missing, "
            f"such as {', '.join(sorted(missing)[:3])}. They would be random; check the checkpoint."
        )
    if trained_head and (fresh := sorted(key for key in info["missing_keys"] if key.startswith(head))):
        raise ModelError(
            f"{name} has no trained head: {', '.join(fresh[:3])} would be random. Give a checkpoint that was saved as "
            "a classifier."
        )
    return model


def _is_optional(key: str) -> bool:
    """Weights a bare encoder may lack although its classifier has them: a pooler, masks of pre-training."""
    return any(part in key for part in ("pooler", "masked_spec_embed", "mask_token", "position_ids", "layer_weights"))
