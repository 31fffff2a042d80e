"""Classes never seen, named by their attributes: which method, how well, and what calibration makes of it.

    hf-transfer zero-shot --dataset PHOTOS --attributes table.csv --model_name_or_path MODEL

Every method learns on the seen classes of every split; options and calibration are chosen on seen classes that play
unseen ones, and rows of unseen classes are only ever tested on. With --train_network STEPS the stock Trainer first
trains the network on the seen classes of each split. A network with a text tower (CLIP, SigLIP, CLAP) also names
classes by prompts with their names, alone or together with the table, and needs no table. Writes a report with the
table, the seen-unseen curve, what is confused and why, a model card, the settings and the model, to which new classes
can be added by set_classes. Without arguments seven of scikit-learn's handwritten digits teach the other three, by
their strokes, through a small network of random weights.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoModel

from hf_transfer_kit.backbones import TEMPLATES, checked_templates, checkpoint_config, layer_groups, load_processor
from hf_transfer_kit.backbones.checkpoints import loaded_weights
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.flags.arguments import DataArguments
from hf_transfer_kit.commands.flags.network_arguments import ModelArguments
from hf_transfer_kit.commands.flags.run_arguments import KeptRunsArguments, one_seed
from hf_transfer_kit.data import ClassBalance
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import KeepRaceReport, check_saved, save_results, started_race
from hf_transfer_kit.near_names import did_you_mean
from hf_transfer_kit.reports import RunFacts, described_data, verdict_lines, zero_shot_report, zero_shot_table
from hf_transfer_kit.selection import DANN_MNIST, ProgressLine
from hf_transfer_kit.selection.unseen_classes import compare_zero_shot, frozen_features, trained_features
from hf_transfer_kit.zero_shot import (
    JOINT_METHODS,
    METHODS,
    SINGLE_METHODS,
    AttributeTable,
    HoldOut,
    described_classes,
    digit_strokes,
    hold_out,
    prompted_classes,
    random_hold_outs,
)
from hf_transfer_kit.zero_shot.table import MISSING


@dataclass
class ZeroShotArguments:
    """Which classes, how described, and how to name them."""

    attributes: str | None = field(
        default=None,
        metadata={
            "help": "Table with a row for each class: csv, tsv, parquet, json; or digit_strokes. A network with a text "
            "tower does without."
        },
    )
    class_column: str | None = field(default=None, metadata={"help": "Its column with the names of the classes."})
    missing: str = field(default="refuse", metadata={"help": "Of missing values: refuse, or mean over the classes."})
    unseen: list[str] = field(
        default_factory=list, metadata={"help": "Classes never shown in training, of the first split."}
    )
    unseen_count: int = field(default=3, metadata={"help": "Classes of each random split that are never shown."})
    splits: int = field(default=10, metadata={"help": "How many random splits, beside that of --unseen."})
    methods: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Of {', '.join(METHODS)}, and with a text tower of {', '.join(JOINT_METHODS)}. Default: all that "
            "fit.",
            "aliases": ["--method"],
        },
    )
    templates: list[str] = field(
        default_factory=list,
        metadata={"help": "Prompts for a text tower, each with {} for the class's name; default: several."},
    )
    mix_with: str = field(
        default="eszsl",
        metadata={"help": "The method on attributes that joint_mix mixes the text tower's scores with."},
    )
    describe_with: str | None = field(
        default=None, metadata={"help": "Text encoder whose embeddings of the classes' names stand beside the table."}
    )
    with_labels: bool = field(default=True, metadata={"help": "Also a classifier that has the unseen classes' labels."})
    train_network: int = field(default=0, metadata={"help": "Steps of the stock Trainer on each split's seen classes."})
    train_method: str = field(default="dap", metadata={"help": "Whose loss teaches the network then."})
    cache_dir: str | None = field(default=None, metadata={"help": "Folder of the features of a frozen network."})
    sampler: str | None = field(
        default=None, metadata={"help": "balanced: rows of small classes are learned from several times."}
    )

    def __post_init__(self) -> None:
        for name in self.methods:
            check_choice("--methods", name, (*METHODS, *JOINT_METHODS))
        check_choice("--mix_with", self.mix_with, tuple(SINGLE_METHODS))
        check_choice("--train_method", self.train_method, (*METHODS, *JOINT_METHODS))
        check_choice("--missing", self.missing, MISSING)
        if not self.splits and not self.unseen:
            raise SettingsError("--splits 0 leaves no split: name classes with --unseen, or give at least one split.")

    def table(self, *, needed: bool) -> AttributeTable | None:
        """All rows; None where there is no table and none is needed."""
        if self.attributes is None and not needed:
            return None
        if self.attributes is None:
            raise SettingsError("--attributes is missing: give a table with a row for each class, or digit_strokes.")
        if self.attributes == "digit_strokes":
            return digit_strokes()
        if near := did_you_mean(self.attributes, ["digit_strokes"]) if not Path(self.attributes).exists() else "":
            raise SettingsError(f"--attributes {self.attributes} is no file.{near}")
        return AttributeTable.of(self.attributes, class_column=self.class_column, missing=self.missing)

    def hold_outs(self, classes: tuple[str, ...]):
        """The split of --unseen, where it is given, and random ones."""
        named = [hold_out(classes, self.unseen)] if self.unseen else []
        if not self.splits:
            return named
        count = self.unseen_count if not self.unseen else len(self.unseen)
        return [*named, *random_hold_outs(classes, count, count=self.splits)]

    def asked(self, *, prompts: bool, attributes: bool) -> list[str]:
        """Those asked for; by default all that have what they read."""
        joint = [name for name in JOINT_METHODS if prompts and (attributes or name != "joint_mix")]
        return self.methods or [*METHODS, *joint]

    def checked_prompts(self, network: str, *, joint: bool) -> tuple[str, ...] | None:
        """The templates, None for the usual ones."""
        asked = [name for name in (*self.methods, self.train_method) if name in JOINT_METHODS]
        if (self.templates or asked) and not joint:
            what = (
                "--templates are prompts" if self.templates else f"{asked[0]} compares pictures or sounds with prompts"
            )
            raise SettingsError(
                f"{what} for a text tower, and {network} has none. Give a network of the kind of CLIP, SigLIP or CLAP."
            )
        return checked_templates(self.templates) if self.templates else None

    def texts(self, classes: tuple[str, ...]) -> dict[str, AttributeTable]:
        """The classes described by their names, where an encoder is given."""
        if self.describe_with is None:
            return {}
        encoder = loaded_weights(AutoModel, self.describe_with, checkpoint_config(self.describe_with))
        tokenizer = load_processor(self.describe_with, "text")
        return {"names": described_classes(classes, encoder, tokenizer)}


@dataclass
class ZeroShotTrainingArguments(KeptRunsArguments):
    """The same, from one seed: splits follow one another from it."""

    seed: int = one_seed()


FLAGS = (ModelArguments, DataArguments, ZeroShotArguments, ZeroShotTrainingArguments)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, data_args, shot_args, args = parse_arguments(*FLAGS, recipe="zero_shot")
    checked_output(args, model_args, data_args, shot_args)
    balance = ClassBalance(sampler=shot_args.sampler)
    model_args.refuse_probe("for classes never seen")
    sharing = Sharing(args, model_args.base_model)
    if data_args.dataset is None and shot_args.attributes is None:
        print("Embedded example: handwritten digits by their strokes, three at a time never shown.")
        data_args.dataset, shot_args.attributes = "digits", "digit_strokes"
    model_args.model_name_or_path = model_args.model_name_or_path or DANN_MNIST
    joint = model_args.is_joint()
    described = shot_args.table(needed=not joint)
    templates = shot_args.checked_prompts(model_args.display_name, joint=joint)
    with args.main_process_first():
        data = data_args.load()
    classes = tuple(data.label_names)
    table = described and described.select(classes)
    left = [name for name in described.classes if name not in classes] if described else []
    splits = shot_args.hold_outs(classes)
    texts = shot_args.texts(classes)
    towers = model_args.towers() if joint else None
    prompts = prompted_classes(classes, towers, templates=templates) if joint else None
    make_network = model_args.model_maker(data, joint=joint)
    processor = model_args.processor(make_network(args.seed))
    with args.main_process_first():
        prepared = data_args.prepare(data, processor)
    make_network = model_args.fitted(make_network, prepared)
    kept = KeepRaceReport(
        started_race(
            "zero_shot",
            [f"split {index + 1}" for index in range(len(splits))],
            title=f"{model_args.display_name} for classes of {data.name} never seen",
            model_name=model_args.display_name,
            dataset_name=data.name,
            data=described_data(data, prepared),
            budget={"splits": len(splits), "training steps of each": shot_args.train_network},
            seeds=[args.seed],
            command=command_line(),
        ),
        args.output_dir,
        base_model=model_args.base_model,
        overwrite=args.overwrite_output_dir,
    )
    store = args.run_store()
    if shot_args.train_network:
        training = copy.copy(args)
        training.max_steps = shot_args.train_network
        training.learning_rate = args.learning_rate or (1e-4 if model_args.pretrained else 1e-3)
        stage("Computing features")
        features = trained_features(
            make_network,
            prepared,
            prompts if shot_args.train_method == "joint" else table or prompts,
            training,
            method=shot_args.train_method,
            balanced=balance.sampler is not None,
            callbacks=lambda title: [ProgressLine(title), *kept.callbacks(title)],
            store=store,
            batch_size=args.batch_size,
        )
    else:
        stage("Computing features")
        features = frozen_features(
            make_network(args.seed),
            prepared,
            table or prompts,
            batch_size=args.per_device_eval_batch_size,
            cache_dir=shot_args.cache_dir,
        )

    def done(index: int, split: HoldOut) -> None:
        print(f"split {index + 1} of {len(splits)}: {', '.join(split.unseen)} unseen")
        kept.done(f"split {index + 1}", {})  # figures of a split are those of test rows

    stage("Training and comparing")
    comparison = compare_zero_shot(
        shot_args.asked(prompts=joint, attributes=table is not None),
        features,
        table,
        splits,
        other_tables=texts,
        prompts=prompts,
        partner=shot_args.mix_with,
        with_labels=shot_args.with_labels,
        seed=args.seed,
        balanced=balance.sampler is not None,
        on_split=done,
        store=store,
    )
    if not args.should_save:
        sharing.push()
        return
    facts = RunFacts(
        model_name=model_args.display_name,
        seed=args.seed,
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        notes=(
            *([f"{len(left)} classes of the table have no rows in the data and took no part."] if left else []),
            *([f"Prompts of the text tower: {'; '.join(templates or TEMPLATES[towers.reads])}."] if joint else []),
            *filter(None, [balance.sentence]),
        ),
    )
    report = zero_shot_report(
        comparison.found,
        comparison.metrics,
        layer_groups(comparison.model).rows(),
        facts,
        pretrained=model_args.pretrained,
        data=data,
        trained=shot_args.train_network,
    )
    print(zero_shot_table(comparison.found), *verdict_lines(report), sep="\n")
    config = resolved_config(model_args, data_args, shot_args, args)
    stage("Writing the report, the card and the model")
    save_results(
        args.output_dir,
        report,
        comparison.model,
        prepared.raw_inputs,
        config,
        base_model=model_args.base_model,
        datasets=[data_args.dataset],
        watt_hours=sharing.energy.watt_hours(),
        **args.card,
    )
    stage("Reading back what was saved")
    check_saved(args.output_dir, comparison.model, data, prepared)
    print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
