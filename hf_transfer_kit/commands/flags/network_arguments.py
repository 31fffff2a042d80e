"""The flags of a pretrained network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.backbones import (
    DTYPES,
    JointTowers,
    checkpoint_config,
    fit_window,
    joint_modality,
    load_model,
    load_processor,
    load_tower_classifier,
    load_towers,
    modality_of,
    stored_dtype,
)
from hf_transfer_kit.backbones.loading import TEXT_POOLINGS
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.data import LoadedData, PreparedData
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.data.streamed import StreamedData
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.selection import (
    FRESH_NETWORKS,
)
from hf_transfer_kit.selection.measures.pooling_choice import choose_pooling
from hf_transfer_kit.tuning.rounding import STORED, RoundWeights
from hf_transfer_kit.values.windows import Window

PROBE = "probe"
"""Of ``--pooling``: what a probe on training rows finds best."""


@dataclass
class NetworkArguments:
    """Which pretrained network, to be run as it is."""

    # No flags here: what runs a network once writes features of a type of its own, pooled as it says.
    dtype = "float32"
    pooling = "auto"
    weighted_layers = False

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Hub name, local folder, timm/NAME, torchvision/NAME, or a small network with random weights: "
            f"{', '.join(FRESH_NETWORKS)}. Without it the embedded example runs."
        },
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with a Hub model."})
    random_weights: bool = field(default=False, metadata={"help": "Keep the architecture only, with random weights."})

    def __post_init__(self) -> None:
        name = self.model_name_or_path or ""
        if name and self.model_revision is not None and (name in FRESH_NETWORKS or Path(name).is_dir()):
            raise SettingsError(
                f"--model_revision {self.model_revision} is of a repository on the Hub, and {name} is none. Leave it "
                "out, or name a repository."
            )
        if (self.model_name_or_path or "").startswith("torchvision/") and not self.random_weights:
            try:
                load_model(self.model_name_or_path)
            except ModelError as error:
                if "cannot be had" not in str(error):
                    raise
                # No network: going on is of use, for the architecture alone is asked for as often; it is said
                # everywhere that nothing was transferred.
                print(f"{error} This run goes on from RANDOM weights.", file=sys.stderr)
                self.random_weights = True

    @property
    def display_name(self) -> str:
        """The model's name for people: of a local path the last folder."""
        path = Path(self.model_name_or_path)
        return (
            path.name if path.exists() else str(self.model_name_or_path)
        ) + " (random weights)" * self.random_weights

    @property
    def pretrained(self) -> bool:
        """Whether the network begins with weights learned elsewhere."""
        return not self.random_weights and self.model_name_or_path not in FRESH_NETWORKS

    @property
    def base_model(self) -> str | None:
        """The network's name where it brings weights, for the card."""
        return self.model_name_or_path if self.pretrained else None

    def is_joint(self) -> bool:
        """Whether the checkpoint also has a text tower that shares a space with the other one."""
        if not self.pretrained:
            return False
        options = {"trust_remote_code": self.trust_remote_code, "revision": self.model_revision}
        return joint_modality(checkpoint_config(self.model_name_or_path, **options)) is not None

    def towers(self) -> JointTowers:
        """Both of them, and the tokenizer."""
        options = {"trust_remote_code": self.trust_remote_code, "revision": self.model_revision}
        return load_towers(self.model_name_or_path, **options)

    def model_maker(self, data: LoadedData | StreamedData, *, joint: bool = False) -> Callable[[int], PreTrainedModel]:
        """Seed -> freshly loaded pretrained model with a fresh head for the classes of ``data``.

        Args:
            data: The data.
            joint: Whether the head is to read what the towers of a joint network compare.

        Raises:
            ModelError: When the model cannot be loaded.
            DataError: When the model does not read what the dataset holds.
        """
        stage(f"Loading {self.display_name}")
        make_model = self.network_maker(data.label_names or ("LABEL_0",), joint=joint, task_type=data.task_type)
        self.check_modality(make_model(0), data)
        return make_model

    def network_maker(
        self, label_names: Sequence[str], *, joint: bool = False, task_type: str = CLASSIFICATION
    ) -> Callable[[int], PreTrainedModel]:
        """Seed -> freshly loaded model with a fresh head for these classes, whatever it reads and they are of."""
        pooling = "auto" if self.pooling == PROBE else self.pooling  # until it is chosen
        of_classifier = {"task_type": task_type, "pooling": pooling, "weighted_layers": self.weighted_layers}
        load = load_tower_classifier if joint else partial(load_model, **of_classifier)
        return lambda seed: load(
            self.model_name_or_path,
            id2label=dict(enumerate(label_names)),
            trust_remote_code=self.trust_remote_code,
            revision=self.model_revision,
            seed=seed,
            pretrained=not self.random_weights,
            dtype=self.dtype,
        )

    def check_modality(self, model: PreTrainedModel, data: LoadedData | StreamedData) -> None:
        """Refuses data that the model does not read.

        Raises:
            DataError: With what either is.
        """
        reads = modality_of(model)
        if reads != data.modality and (data.modality, reads) != ("audio", "image"):
            raise DataError(
                f"{self.display_name} reads {reads}, but the column {data.input_columns[0]!r} of {data.name} holds "
                f"{data.modality}. Give a model for {data.modality}, or another column with --input_column."
            )

    @staticmethod
    def fitted(make_model: Callable[[int], PreTrainedModel], data: PreparedData) -> Callable[[int], PreTrainedModel]:
        """The same, of networks that hear the windows in which the data was prepared."""
        if Window.of(data.processor) is None:
            return make_model
        return lambda seed: fit_window(make_model(seed), data.processor)

    def fitted_maker(self, loaded: LoadedData, data: PreparedData) -> Callable[[int], PreTrainedModel]:
        """What ``model_maker`` gives, fitted to the prepared data."""
        return self.fitted(self.model_maker(loaded), data)

    def processor(self, model: PreTrainedModel):
        """The checkpoint's processor for what the model reads."""
        return load_processor(self.model_name_or_path, modality_of(model), revision=self.model_revision)


@dataclass
class ModelArguments(NetworkArguments):
    """Which pretrained network, to be trained."""

    dtype: str = field(
        default="float32",
        metadata={
            "help": "Precision of the weights in training: float32 (whatever the checkpoint was stored in), auto (as "
            "it was stored), bfloat16 or float16. For speed use --bf16 instead, which keeps float32 weights."
        },
    )

    pooling: str = field(
        default="auto",
        metadata={
            "help": "What the head reads of a network of texts or sounds: mean, first, last, max or statistics (mean "
            "and spread) of its positions, or classifier (what transformers' reads); auto: as an encoder of sentences "
            "says of itself, else classifier; "
            "probe: the best for a linear probe on training rows."
        },
    )
    weighted_layers: bool = field(
        default=False,
        metadata={
            "help": "The head of a network of sounds reads a sum of all its layers, whose weights it learns, not the "
            "last one."
        },
    )

    def __post_init__(self) -> None:
        check_choice("--dtype", self.dtype, DTYPES)
        check_choice("--pooling", self.pooling, (*TEXT_POOLINGS, PROBE))
        super().__post_init__()

    def probed(
        self,
        make_model: Callable[[int], PreTrainedModel],
        loaded: LoadedData,
        data: PreparedData,
        args: TrainingArguments,
        *,
        cache_dir: str | None = None,
    ) -> Callable[[int], PreTrainedModel]:
        """The same for the prepared data: of the windows that it has, and with ``--pooling probe`` of the pooling that
        a probe on training rows finds best, which is told."""
        if self.pooling != PROBE:
            return self.fitted(make_model, data)
        stage("Choosing the pooling")
        found = choose_pooling(
            lambda pooling: replace(self, pooling=pooling).fitted_maker(loaded, data)(args.seed),
            data,
            batch_size=args.per_device_eval_batch_size,
            seed=args.seed,
            cache_dir=cache_dir,
        )
        self.pooling = found.pooling
        print(found)
        return self.fitted_maker(loaded, data)

    def refuse_probe(self, where: str) -> None:
        """Refuses ``--pooling probe`` where it is not known.

        Args:
            where: To follow "not known".
        """
        if self.pooling == PROBE:
            raise SettingsError(f"--pooling {PROBE} is not known {where}. Name a pooling, or leave it out.")


@dataclass
class KeptModelArguments(ModelArguments):
    """Which pretrained network, to be trained and kept."""

    save_dtype: str = field(
        default="source",
        metadata={
            "help": "What the final weights are stored in: source (as the checkpoint was), float32, bfloat16 or "
            "float16. They are rounded to it before they are measured; checkpoints keep what training needs."
        },
    )

    def __post_init__(self) -> None:
        check_choice("--save_dtype", self.save_dtype, ("source", *STORED))
        super().__post_init__()

    @cached_property
    def stored_dtype(self) -> str:
        """What the final weights are stored in."""
        if self.save_dtype != "source":
            return self.save_dtype
        options = {"trust_remote_code": self.trust_remote_code, "revision": self.model_revision}
        return stored_dtype(self.model_name_or_path, **options) if self.pretrained else "float32"

    def rounding(self) -> list[TrainerCallback]:
        """What rounds a trained network to how it is stored."""
        return [RoundWeights(self.stored_dtype)]
