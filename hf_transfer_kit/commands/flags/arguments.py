"""The flags of data, classes, caches and pages that recipes share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainingArguments

from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.data import EMBEDDED, METRICS, ClassBalance, LoadedData, PreparedData, load_data, prepare_data
from hf_transfer_kit.data.label_kinds import CLASSIFICATION
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.features.cache_budget import bytes_of
from hf_transfer_kit.features.precision import DTYPES as CACHE_DTYPES
from hf_transfer_kit.hub import check_output_dir, written_beside
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.selection import (
    PrefixCaches,
    train_digits_source,
)
from hf_transfer_kit.selection.finetuning.task_losses import OWN_LOSSES


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
    max_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Longest sound; default: from the data. A network that hears windows of one length (Whisper's 30 "
            "seconds) is cut to as many whole seconds."
        },
    )
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
