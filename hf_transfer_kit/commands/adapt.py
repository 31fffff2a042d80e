"""A labelled source and a target without labels: which method, what it gains, and whether it is healthy.

    hf-transfer adapt --source SOURCE --target TARGET --model_name_or_path MODEL

Every method, the network trained on the source alone and (where the target has labels to evaluate with) the upper
bound run under one budget. Which weights and which method are kept is told by a score that needs no labels of the
target. Writes a report with pictures of the features, a model card, the settings and the adapted network as an ordinary
classifier. With several sources and no --target it makes a network for domains that it never sees, by methods that are
chosen by leaving one source out. Without arguments it adapts the DANN paper's small network from scikit-learn's digits
to digits on photographs; --model_name_or_path also takes the names of small networks with random weights (dann_mnist,
dann_mnist_3x3, small_resnet, ...).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_transfer_kit.adaptation.scores import SCORES
from hf_transfer_kit.commands.edge.flag_values import check_choice
from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.watched import Watched
from hf_transfer_kit.commands.flags.arguments import WeightArguments
from hf_transfer_kit.commands.flags.domain_arguments import DomainArguments
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import OpenRunsArguments
from hf_transfer_kit.commands.several_sources import DEFAULT as SEVERAL
from hf_transfer_kit.commands.several_sources import generalise, wants_generalisation
from hf_transfer_kit.commands.source_free import adapt_source_free
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import check_saved, save_results, written_beside
from hf_transfer_kit.reports import (
    RunFacts,
    adaptation_report,
    adaptation_table,
    confusion_table,
    described_data,
    length_sentence,
    unknown_sentence,
    verdict_lines,
)
from hf_transfer_kit.selection import DANN_MNIST, ProgressLine
from hf_transfer_kit.selection.adapting import (
    LAST,
    METHODS,
    SELECT,
    SOURCE_FREE_METHODS,
    Domains,
    compare_adaptations,
    find_rejection,
    held_out_classes,
    judged,
    make_method,
    open_domains,
)
from hf_transfer_kit.selection.generalising import METHODS as GENERALISATION_METHODS
from hf_transfer_kit.values import Adaptation

DEFAULT_METHODS = {"random": "adamatch:source_weight=1", "pretrained": "mcc", "pictures": "clusters"}
"""By the network's weights: random ones have invariances to learn, which strongly changed rows teach. Pretrained ones
hold classes of pictures as clusters; sounds (as log-mel pictures, too) and texts they must learn to tell apart."""
BASELINES = ("source_only", "target_supervised")


@dataclass
class AdaptArguments:
    """How to adapt."""

    methods: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Of {', '.join(METHODS)}; options after a colon: dann:view=1,weight=0.5 (pictures and random "
            f"weights: view=1 is usual). Default: {DEFAULT_METHODS['pretrained']}, of a pretrained network on pictures "
            f"{DEFAULT_METHODS['pictures']}, of one with random weights {DEFAULT_METHODS['random']}. "
            f"With --source_model of {', '.join(SOURCE_FREE_METHODS)}; default: "
            f"shot:view=1. With several sources and no target of {', '.join(GENERALISATION_METHODS)}; default: "
            f"{' '.join(SEVERAL[1:])}.",
            "aliases": ["--method"],
        },
    )
    baselines: bool = field(default=True, metadata={"help": f"Also run {' and '.join(BASELINES)}."})
    invert: bool | None = field(
        default=None, metadata={"help": "Strong views invert every second image; default: where no network is named."}
    )
    select: str = field(default=SELECT, metadata={"help": "Score that chooses weights and method, or last."})
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run each."})
    cache_dir: str | None = field(default=None, metadata={"help": "Folder of the features that shallow reads."})

    def __post_init__(self) -> None:
        check_choice("--select", self.select, (LAST, *SCORES))


@dataclass
class AdaptTrainingArguments(OpenRunsArguments):
    """All of TrainingArguments; rates fall along a cosine, and runs are looked at ten times."""

    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Scheduler of transformers."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Steps, or below 1 a share of them, to the full rate."})
    evaluations: int = field(default=10, metadata={"help": "How often a run is looked at."})


FLAGS = (KeptModelArguments, DomainArguments, AdaptArguments, WeightArguments, AdaptTrainingArguments)
"""Dataclasses of its flags."""


def usual_method(pretrained: bool, modality: str) -> str:
    """What adapts where no method is named.

    Args:
        pretrained: Whether the network begins with weights learned elsewhere.
        modality: Of the data: ``"image"``, ``"text"`` or ``"audio"``.
    """
    if not pretrained:
        return DEFAULT_METHODS["random"]
    return DEFAULT_METHODS["pictures" if modality == "image" else "pretrained"]


def main() -> None:
    started = time.perf_counter()
    model_args, domain_args, adapt_args, weight_args, args = parse_arguments(*FLAGS, recipe="adapt")
    balance = weight_args.balance()
    checked_output(args, model_args, domain_args)
    sharing = Sharing(args, model_args.base_model or domain_args.source_model)
    if domain_args.open_target and (not domain_args.source or domain_args.target is None):
        raise SettingsError("--open_target is about the classes of --source and of --target: give both.")
    if domain_args.source_model is not None or wants_generalisation(domain_args):
        model_args.refuse_probe("without a target, or without its source")
    if domain_args.source_model is not None:
        if weight_args.class_weights or weight_args.sampler:
            raise SettingsError("--class_weights and --sampler weigh source rows, of which --source_model has none.")
        adapt_source_free(model_args, domain_args, adapt_args, args, sharing)
        return
    if wants_generalisation(domain_args):
        generalise(model_args, domain_args, adapt_args, weight_args, args, sharing)
        return
    for text in adapt_args.methods:
        make_method(text)  # refused now, not when data is loaded
    if adapt_args.cache_dir is not None and not any(text.partition(":")[0] == "shallow" for text in adapt_args.methods):
        raise SettingsError(
            "--cache_dir is of the features that shallow reads: add shallow to --methods, or leave it out."
        )
    if not domain_args.source and domain_args.target is None:
        print("Embedded example: from scikit-learn's digits to digits on photographs.")
        domain_args.source, domain_args.target = ["digits"], "digits_m"
        if args.max_steps <= 0 and args.num_train_epochs is None:
            args.max_steps = 600
    with args.main_process_first():
        source, target = domain_args.load()
    model_args.model_name_or_path = model_args.model_name_or_path or DANN_MNIST
    adapt_args.methods = adapt_args.methods or [usual_method(model_args.pretrained, source.modality)]
    make_model = model_args.model_maker(source)
    network = make_model(adapt_args.seeds[0])
    processor = model_args.processor(network)
    labelled = () if domain_args.open_target else target.labelled_splits  # an open target is judged on test rows alone
    names = [*BASELINES[:1], *adapt_args.methods, *(BASELINES[1:] if "train" in labelled else ())]
    invert = not model_args.pretrained if adapt_args.invert is None else adapt_args.invert
    texts = dict.fromkeys(names if adapt_args.baselines else adapt_args.methods)
    view = 0.0 if model_args.pretrained or source.modality != "image" else 1.0
    methods = [make_method(text, invert=invert, view=view) for text in texts]
    with args.main_process_first():
        prepared = domain_args.prepare(source, processor)
        domains = Domains(
            replace(prepared, balance=balance),
            domain_args.prepare(target, processor, like=prepared),
            labelled=target.labelled_splits,
            pretrained=model_args.pretrained,
        )
    make_model = model_args.probed(make_model, source, prepared, args, cache_dir=adapt_args.cache_dir)
    prepared_target = judged_on = domains.target
    if domain_args.open_target:
        held_out_classes(source.label_names)  # refused before anything is trained
        domains, judged_on = open_domains(domains)
    budget = args.budget(max(len(prepared.train), len(domains.target.train)), source.modality)
    watched = Watched(
        "adapt",
        list(texts),
        model_args,
        args,
        title=f"{model_args.display_name} from {source.name} to {target.name}",
        dataset_name=target.name,
        data={**described_data(target, domains.target), "classes": list(source.label_names)},
        seeds=adapt_args.seeds,
        budget=budget,
        runs=len(texts) * len(adapt_args.seeds),
    )
    with args.run_executor() as executor:
        stage("Training and comparing")
        comparison = compare_adaptations(
            methods,
            make_model,
            domains,
            args,
            budget,
            seeds=adapt_args.seeds,
            select=adapt_args.select,
            callbacks=watched.callbacks,
            on_result=lambda result: watched.done(result.method, result.scores),
            cache_dir=adapt_args.cache_dir,
            store=args.run_store(stored_dtype=model_args.stored_dtype),
            executor=executor,
        )
    unknown_rows = rejection = None
    if domain_args.open_target:
        stage("Learning what to reject")
        choice, unknown_rows = find_rejection(
            next(method for method in methods if method.text == comparison.chosen),
            comparison.run,
            make_model,
            domains,
            args,
            budget,
            select=adapt_args.select,
            callbacks=[ProgressLine(f"{comparison.chosen} without some classes")],
        )
        rejection = choice.rejection
        if judged_on is not None:
            unknown_rows = judged(unknown_rows, choice, comparison.run, judged_on)
    if not args.should_save:
        sharing.push()
        return
    found = Adaptation(
        source_name=source.name,
        target_name=target.name,
        results=comparison.results,
        chosen=comparison.chosen,
        selected_by=adapt_args.select,
        agreements=comparison.agreements,
        feature_maps=comparison.feature_maps,
        label_shift=comparison.label_shift,
        unknown_rows=unknown_rows,
    )
    classifier = comparison.run.model.export_classifier()
    lengths = [length_sentence(result.method, result.steps, result.ended, budget) for result in found.results]
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        learning_rate=domains.learning_rate(budget),
        seed=adapt_args.seeds[0],
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        notes=tuple(filter(None, [*map(str, comparison.failed), *lengths, balance.sentence])),
    )
    report = adaptation_report(
        found,
        classifier,
        facts,
        model_metrics=comparison.run.test,
        data=target,
        source=source,
        prepared=domains.target,
        rates=comparison.run.rates,
        confusion=confusion_table(source.label_names, comparison.run.true, comparison.run.predicted)
        if len(comparison.run.true)
        else None,
    )
    print(*map(str, comparison.failed), adaptation_table(found), *verdict_lines(report), sep="\n")
    print(*filter(None, lengths), sep="\n")
    for result in comparison.results:
        print(*(f"{result.method} is {diagnosis}" for diagnosis in result.diagnoses), sep="\n")
    if unknown_rows is not None:
        print(unknown_sentence(found))
    config = resolved_config(model_args, domain_args, adapt_args, weight_args, args)
    stage("Writing the report, the card and the model")
    save_results(
        args.output_dir,
        replace(report, runs=comparison.runs),
        classifier,
        domains.target.raw_inputs,
        config,
        base_model=model_args.base_model,
        datasets=[*domain_args.source, domain_args.target],
        watt_hours=sharing.energy.watt_hours(),
        dtype=model_args.stored_dtype,
        **args.card,
    )
    stage("Reading back what was saved")
    check_saved(args.output_dir, classifier, target, prepared_target)
    if rejection is not None:
        with written_beside(args.output_dir, overwrite=args.overwrite_output_dir) as staged:
            rejection.save(staged)
    print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
