"""The flags that the scripts share."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.backbones import (
    DTYPES,
    JointTowers,
    checkpoint_config,
    joint_modality,
    load_model,
    load_processor,
    load_tower_classifier,
    load_towers,
    modality_of,
    stored_dtype,
)
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.data import EMBEDDED, METRICS, ClassBalance, LoadedData, PreparedData, load_data, prepare_data
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import DataError, ModelError, SettingsError
from hf_transfer_kit.features.cache_budget import bytes_of
from hf_transfer_kit.features.precision import DTYPES as CACHE_DTYPES
from hf_transfer_kit.hub import check_output_dir, written_beside
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection import (
    FRESH_NETWORKS,
    PrefixCaches,
    train_digits_source,
)
from hf_transfer_kit.selection.finetuning.task_losses import OWN_LOSSES
from hf_transfer_kit.tuning.rounding import STORED, RoundWeights


@dataclass
class NetworkArguments:
    """Which pretrained network, to be run as it is."""

    dtype = "float32"  # no flag here: what runs a network once writes features of a type of its own

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

    def model_maker(self, data: LoadedData, *, joint: bool = False) -> Callable[[int], PreTrainedModel]:
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
        load = load_tower_classifier if joint else partial(load_model, task_type=task_type)
        return lambda seed: load(
            self.model_name_or_path,
            id2label=dict(enumerate(label_names)),
            trust_remote_code=self.trust_remote_code,
            revision=self.model_revision,
            seed=seed,
            pretrained=not self.random_weights,
            dtype=self.dtype,
        )

    def check_modality(self, model: PreTrainedModel, data: LoadedData) -> None:
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

    def __post_init__(self) -> None:
        check_choice("--dtype", self.dtype, DTYPES)
        super().__post_init__()


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


@dataclass
class PreparationArguments:
    """How data is read and prepared."""

    input_column: str | None = field(default=None, metadata={"help": "Column with the images, texts or sounds."})
    label_column: str | None = field(default=None, metadata={"help": "Column with the classes."})
    validation_size: float = field(default=0.2, metadata={"help": "Share held out where there is no such split."})
    test_size: float = field(default=0.2, metadata={"help": "Share held out for the final figures; as for validation."})
    missing_label: str | None = field(
        default=None, metadata={"help": "A value that stands for no label, such as -1; an empty one always does."}
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Leave unreadable rows out and count them."})
    augment: bool = field(default=False, metadata={"help": "Random crops and flips of training images."})
    image_size: int | None = field(default=None, metadata={"help": "Side in pixels; default: the checkpoint's."})
    max_length: int = field(default=128, metadata={"help": "Longest text in tokens."})
    max_seconds: float | None = field(default=None, metadata={"help": "Longest sound; default: from the data."})
    split_seed: int = field(default=0, metadata={"help": "Seed of subsets and of splits that are made."})

    def prepare(self, data: LoadedData, processor, **options) -> PreparedData:
        """Model-ready splits and their collator."""
        stage(f"Preparing {data.name}")
        return prepare_data(
            data,
            processor,
            augment=self.augment,
            image_size=self.image_size,
            max_length=self.max_length,
            max_seconds=self.max_seconds,
            **options,
        )


@dataclass
class DataArguments(PreparationArguments):
    """Which labelled data, and how it is prepared."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub name, local folder or file, or an embedded name: digits, digits_m."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset."})
    train_size: str | None = field(
        default=None, metadata={"help": "Labelled rows to train on, stratified: a number, or a share such as 0.1."}
    )

    task_type = CLASSIFICATION  # no flag here: for what knows classes alone
    new_names = None  # nor here

    def __post_init__(self) -> None:
        row_count("--train_size", self.train_size)

    def load(self) -> LoadedData:
        """The checked splits; a DataError says what is wrong with them."""
        stage("Reading the data")
        if self.dataset is None:
            raise SettingsError("--dataset is missing: give a Hub name, a folder or file, digits or digits_m.")
        return load_data(
            self.dataset,
            config_name=self.dataset_config,
            input_column=self.input_column,
            label_column=self.label_column,
            task_type=self.task_type,
            rename_classes=self.new_names,
            train_size=row_count("--train_size", self.train_size),
            validation_size=self.validation_size,
            test_size=self.test_size,
            missing_label=self.missing_label,
            skip_bad_rows=self.skip_bad_rows,
            seed=self.split_seed,
        )


@dataclass
class TaskDataArguments(DataArguments):
    """The same, with labels of any kind that one network is trained on."""

    task_type: str = field(
        default=CLASSIFICATION,
        metadata={"help": f"What the labels are: {', '.join((CLASSIFICATION, *OWN_LOSSES))}."},
    )
    rename_classes: list[str] = field(
        default_factory=list,
        metadata={"help": "New names of the classes in their order; with --task_type ctc classes are spelled by them."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("--task_type", self.task_type, (CLASSIFICATION, *OWN_LOSSES))
        self.new_names = self.rename_classes or None


@dataclass
class WeightArguments:
    """How classes of very different numbers of rows are treated in training."""

    class_weights: str | None = field(
        default=None,
        metadata={"help": "Weights in the loss: balanced, or class=weight,class=weight with 1 for the others."},
    )
    sampler: str | None = field(
        default=None,
        metadata={"help": "balanced: batches with all classes equally often; plain: rows as they are, the default."},
    )
    metric = "accuracy"  # no flag here: something else chooses

    def balance(self) -> ClassBalance:
        """The same for the kit."""
        weights: object = self.class_weights
        if weights is not None and weights != "balanced":
            weights = {}
            for part in self.class_weights.split(","):
                name, equals, value = part.rpartition("=")
                try:
                    weights[name] = float(value)
                except ValueError:
                    equals = ""
                if not equals or not name:
                    raise SettingsError(
                        f"--class_weights {self.class_weights}: write balanced, or class=weight,class=weight."
                    )
        sampler = None if self.sampler == "plain" else self.sampler
        return ClassBalance(weights, sampler, self.metric or "accuracy")


@dataclass
class BalanceArguments(WeightArguments):
    """The same, and what models are chosen by."""

    metric: str | None = field(
        default=None,
        metadata={
            "help": f"What is chosen by on validation: {', '.join(METRICS)}, the first by default; of another "
            "--task_type one of its own metrics, such as mse."
        },
    )

    def of_task(self, task_type: str) -> dict[str, object]:
        """What of ``PreparedData`` says how a task is balanced, chosen and judged."""
        if task_type == CLASSIFICATION:
            return {"balance": self.balance()}
        if self.class_weights is not None or self.sampler is not None:
            raise SettingsError(f"--class_weights and --sampler are for classes, but --task_type is {task_type}.")
        return {"metric": self.metric}


@dataclass
class CacheArguments:
    """Where what frozen layers give is kept, so that they run once."""

    cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the caches; default: beside those of datasets."}
    )
    cache_budget: str = field(
        default="4GB", metadata={"help": "Largest cache; beyond it, and with 0, frozen layers run at every step."}
    )
    cache_dtype: str = field(default="float32", metadata={"help": "float32, or float16 or bfloat16 for half the size."})

    def __post_init__(self) -> None:
        check_choice("--cache_dtype", self.cache_dtype, CACHE_DTYPES)
        bytes_of(self.cache_budget)

    def caches(self, data: PreparedData, args: TrainingArguments) -> PrefixCaches:
        """Caches for runs on ``data``."""
        return PrefixCaches(
            data,
            batch_size=args.per_device_eval_batch_size,
            cache_budget=self.cache_budget,
            dtype=self.cache_dtype,
            cache_dir=self.cache_dir,
            progress=args.should_save,
        )


@dataclass
class PageArguments:
    """What the report's page shows of the data."""

    examples: bool = field(
        default=True,
        metadata={
            "help": "Texts or small pictures of the test rows that are named wrongly, in report.html; --no_examples "
            "leaves them out."
        },
    )


def uses_embedded_example(
    model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments, *, train_size: str | None = "100"
) -> bool:
    """Without a model: trains a small one on digits, and takes digits on photographs where no data was named."""
    if model_args.model_name_or_path is not None:
        return False
    if data_args.dataset is not None and data_args.dataset not in EMBEDDED:
        raise SettingsError(
            f"--dataset {data_args.dataset} was given without a network: name one with --model_name_or_path. Without "
            f"both, the embedded example runs.{did_you_mean(data_args.dataset, EMBEDDED)}"
        )
    print("Embedded example: a source network learns scikit-learn's digits first.")
    folder = Path(args.output_dir) / "digits_network"
    check_output_dir(folder, overwrite=args.overwrite_output_dir)
    if args.should_save:
        with written_beside(folder, whole=True, overwrite=args.overwrite_output_dir) as staged:
            train_digits_source(staged, args)
    else:
        train_digits_source(folder, args)
    with args.main_process_first():  # the others wait until it lies there
        model_args.model_name_or_path = str(folder)
    data_args.dataset = data_args.dataset or "digits_m"
    data_args.train_size = data_args.train_size or train_size
    return True


def check_choice(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise SettingsError(f"{flag} {value} is unknown; choose {', '.join(known)}.{did_you_mean(value, known)}")


def row_count(flag: str, text: str | None) -> int | float | None:
    """A number of rows, or a share of them; None for all."""
    if text is None:
        return None
    try:
        size = int(text) if text.isdigit() else float(text)
    except ValueError:
        size = math.nan
    if not (0 < size <= 1 or (isinstance(size, int) and 0 < size < 2**63)):
        raise SettingsError(f"{flag} {text} is neither a number of rows nor a share such as 0.1.")
    return size
