"""Old classes that are kept while new ones are learned: the flags, and what hf-transfer finetune does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from hf_transfer_kit.backbones import extend_head, fit_window, known_classes, load_model
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.flags.arguments import BalanceArguments, DataArguments
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.data import ClassBalance, LoadedData, PreparedData, load_data
from hf_transfer_kit.data.growing import classes_to_add, with_classes
from hf_transfer_kit.data.labels import class_values
from hf_transfer_kit.data.replay import with_few_rows
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import Strategy
from hf_transfer_kit.selection.finetuning.growing import check_keeps, grown, joined_data, old_accuracy
from hf_transfer_kit.selection.finetuning.running import Run
from hf_transfer_kit.tuning import LwF
from hf_transfer_kit.values import Growing


@dataclass
class GrowingArguments:
    """Whether the network's own classes stay."""

    old_classes: str = field(
        default="replaced",
        metadata={
            "help": "kept: the checkpoint's classes stay, those that it does not know are learned beside them; "
            "replaced: a new head for the data's classes."
        },
    )
    replay: str | None = field(
        default=None,
        metadata={"help": "Data of the old classes, as --dataset: a few rows are replayed, its test rows judge."},
    )
    replay_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset."})
    replay_input_column: str | None = field(default=None, metadata={"help": "Where it has another name there."})
    replay_label_column: str | None = field(default=None, metadata={"help": "Where it has another name there."})
    replay_rows: int = field(default=20, metadata={"help": "Rows of each old class to replay, drawn with --seed."})
    margin: float = field(
        default=0.75,
        metadata={
            "help": "With --old_classes kept: classes of few rows must win by this times the log of the ratio of rows, "
            "classes without rows take no part in the loss; 0: neither."
        },
    )
    lwf: float = field(
        default=0.1, metadata={"help": "How strongly the old network's word holds the new one; 0 leaves it out."}
    )

    def __post_init__(self) -> None:
        check_choice("--old_classes", self.old_classes, ("kept", "replaced"))
        if self.replay is not None and not self.kept:
            raise SettingsError("--replay is for old classes that are kept: give --old_classes kept with it.")
        for flag, value in (("--lwf", self.lwf), ("--margin", self.margin)):
            if not 0 <= value < float("inf"):
                raise SettingsError(f"{flag} {value} is out of range: give a number of at least 0.")
        if self.replay_rows < 1:
            raise SettingsError(f"--replay_rows {self.replay_rows}: give a number of rows of each class, at least 1.")

    @property
    def kept(self) -> bool:
        """Whether the network's own classes stay."""
        return self.old_classes == "kept"

    def grow(
        self,
        model_args: KeptModelArguments,
        data_args: DataArguments,
        balance_args: BalanceArguments,
        loaded: LoadedData,
        *,
        seed: int,
    ) -> GrowingRun:
        """The run: its network, its classes and its data.

        Args:
            model_args: Which network.
            data_args: How data is read.
            balance_args: How classes are balanced.
            loaded: Rows of the new classes.
            seed: Of what is drawn.

        Raises:
            ModelError: When the network has no trained head, or no names of its classes.
            DataError: When classes do not fit.
            SettingsError: When it begins with random weights.
        """
        if not model_args.pretrained:
            raise SettingsError(
                f"{model_args.display_name} has learned no classes that could be kept. Give a trained classifier, or "
                "leave --old_classes out."
            )
        source = _trained(model_args)
        model_args.check_modality(source, loaded)
        old = known_classes(source)
        new = classes_to_add(old, loaded)
        replayed = None
        if self.replay is not None:
            replayed = load_data(
                self.replay,
                config_name=self.replay_config,
                input_column=self.replay_input_column or data_args.input_column,
                label_column=self.replay_label_column or data_args.label_column,
                modality=loaded.modality,
                validation_size=data_args.validation_size,
                test_size=data_args.test_size,
                missing_label=data_args.missing_label,
                skip_bad_rows=data_args.skip_bad_rows,
                seed=data_args.split_seed,
            )
            replayed = with_few_rows(with_classes(replayed, old), self.replay_rows, seed=seed)
        balance = balance_args.balance()
        balance = replace(balance, margin=self.margin)
        if replayed is not None and balance_args.class_weights is None and balance_args.sampler is None:
            balance = replace(balance, sampler="balanced")
        return GrowingRun(self, model_args, source, old, new, with_classes(loaded, (*old, *new)), replayed, balance)


@dataclass(frozen=True, eq=False)
class GrowingRun:
    """A network that is to learn further classes, and their rows.

    Args:
        arguments: The flags.
        model_args: Which network.
        source: The network as it came.
        old: Its classes.
        new: Those to add.
        loaded: Rows of the new ones, with classes counted behind the old ones.
        replayed: Rows of the old ones, few to train on.
        balance: How classes are balanced in training.
    """

    arguments: GrowingArguments
    model_args: KeptModelArguments
    source: PreTrainedModel
    old: tuple[str, ...]
    new: tuple[str, ...]
    loaded: LoadedData
    replayed: LoadedData | None
    balance: ClassBalance

    def model_maker(self) -> Callable[[int], PreTrainedModel]:
        """Seed -> the network with outputs for the new classes behind its own."""
        return lambda seed: extend_head(_trained(self.model_args), self.new, seed=seed)

    def check(self, strategy: Strategy, *, advised: bool) -> None:
        """Refuses what would not keep the old classes.

        Raises:
            SettingsError: Naming it.
        """
        if advised:
            raise SettingsError(
                "--strategy auto advises on a new head, not on what keeps old classes. With --old_classes kept name a "
                "strategy, such as full."
            )
        check_keeps(strategy)

    def prepare(self, data_args: DataArguments, processor) -> PreparedData:
        """Rows of new classes, and those of old ones behind them."""
        prepared = data_args.prepare(self.loaded, processor)
        fit_window(self.source, prepared.processor)
        if self.replayed is not None:
            prepared = joined_data(prepared, data_args.prepare(self.replayed, processor, like=prepared))
        return prepared

    def callbacks(self) -> tuple[TrainerCallback, ...]:
        """What holds the old classes in training."""
        alpha = self.arguments.lwf
        return (LwF(source=self.source, own_head=True, alpha=alpha),) if alpha else ()

    def before(self, data: PreparedData, args: TrainingArguments) -> float | None:
        """Accuracy of the network as it came on test rows of its classes."""
        return old_accuracy(self.source, data, args)

    def described(self) -> dict[str, object]:
        """What a report's ``data`` says beside the new rows."""
        if self.replayed is None:
            return {}
        data = self.replayed
        return {"replay": {"name": data.name, "sizes": data.sizes(), "fingerprints": data.fingerprints()}}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report should say of the way it was run."""
        if self.replayed is not None:
            return ()
        return ("No rows of old classes were replayed: --replay names their data, which also tells what is forgotten.",)

    def outcome(self, run: Run, before: float | None) -> Growing:
        """What the finished run left of the old classes."""
        return grown(
            run.true,
            run.predicted,
            self.old,
            self.new,
            before=before,
            kept_by=self._kept_by(),
            replayed=self._rows(),
        )

    def _rows(self) -> dict[str, int]:
        if self.replayed is None:
            return {}
        counts = np.bincount(class_values(self.replayed.train, self.replayed.label_column), minlength=len(self.old))
        return {name: int(count) for name, count in zip(self.old, counts, strict=True)}

    def _kept_by(self) -> tuple[str, ...]:
        means = []
        if self.arguments.lwf:
            means.append(f"LwF (alpha {self.arguments.lwf:g})")
        if self.replayed is not None:
            means.append(f"replay of {sum(self._rows().values())} rows of {self.replayed.name}")
        if self.balance.sampler is not None:
            means.append("batches with all classes equally often")
        if self.balance.margin:
            means.append(
                f"a margin of {self.balance.margin:g} times the log of the ratio of rows"
                if self.replayed is not None
                else "a loss in which classes without rows take no part"
            )
        return tuple(means)


def _trained(model_args: KeptModelArguments) -> PreTrainedModel:
    return load_model(
        model_args.model_name_or_path,
        trust_remote_code=model_args.trust_remote_code,
        revision=model_args.model_revision,
        dtype=model_args.dtype,
        trained_head=True,
    )
