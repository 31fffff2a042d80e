"""What adapt.py does with several sources and no target: a network for domains that it never sees."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from hf_transfer_kit.commands.edge.settings import command_line, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.watched import Watched
from hf_transfer_kit.commands.flags.arguments import WeightArguments
from hf_transfer_kit.commands.flags.domain_arguments import DomainArguments
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import ComparisonArguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import check_saved, save_results
from hf_transfer_kit.reports import (
    RunFacts,
    confusion_table,
    described_data,
    generalisation_report,
    generalisation_table,
    generalisation_words,
    length_sentence,
    verdict_lines,
)
from hf_transfer_kit.selection import DANN_MNIST
from hf_transfer_kit.selection.adapting import LAST, SELECT
from hf_transfer_kit.selection.generalising import Sources, checked_generalisation, compare_generalisation

DEFAULT = ["joint", "joint:average=swad", "coral", "group_dro"]


def wants_generalisation(domain_args: DomainArguments) -> bool:
    """Whether there are several sources and no target.

    Raises:
        SettingsError: When --unseen is given with a target, or with fewer than two sources.
    """
    several = len(domain_args.source) > 1 and domain_args.target is None
    if domain_args.unseen is not None and not several:
        raise SettingsError(
            "--unseen is the last figure of a network of several sources: give it with two or more in --source, and "
            "without --target."
        )
    return several


def generalise(
    model_args: KeptModelArguments,
    domain_args: DomainArguments,
    adapt_args,
    weight_args: WeightArguments,
    args: ComparisonArguments,
    sharing: Sharing,
) -> None:
    """Compares methods by leaving each source out, and saves the chosen one's network of all sources.

    Raises:
        SettingsError: When --select names a score of a target.
    """
    started = time.perf_counter()
    if adapt_args.select not in (SELECT, LAST):
        raise SettingsError(
            f"--select {adapt_args.select} reads a target, and there is none. Leave it out (weights are kept by "
            f"accuracy on validation rows of the sources), or give --select {LAST}."
        )
    select = LAST if adapt_args.select == LAST else "accuracy"
    methods = list(
        dict.fromkeys([*(DEFAULT[:1] if adapt_args.baselines else []), *(adapt_args.methods or DEFAULT[1:])])
    )
    checked_generalisation(methods, seeds=adapt_args.seeds, select=select)
    balance = weight_args.balance()
    with args.main_process_first():
        sources = domain_args.load_sources()
        unseen = domain_args.load_unseen(sources)
    model_args.model_name_or_path = model_args.model_name_or_path or DANN_MNIST
    make_model = model_args.model_maker(sources)
    processor = model_args.processor(make_model(adapt_args.seeds[0]))
    with args.main_process_first():
        prepared = domain_args.prepare_sources(sources, processor)
        first = next(iter(prepared))
        prepared[first] = replace(prepared[first], balance=balance)
        make_model = model_args.fitted(make_model, prepared[first])
        last = None if unseen is None else domain_args.prepare(unseen, processor, like=prepared[first])
    used = Sources(prepared, pretrained=model_args.pretrained)
    budget = args.budget(max(len(rows.train) for rows in prepared.values()), sources.modality)
    watched = Watched(
        "adapt",
        methods,
        model_args,
        args,
        title=f"{model_args.display_name} from {sources.name} to domains never seen",
        dataset_name=sources.name,
        data=described_data(sources, prepared[first]),
        seeds=adapt_args.seeds,
        budget=budget,
        runs=len(methods) * len(adapt_args.seeds) * (len(prepared) + 1),
        width=48,
    )
    with args.run_executor() as executor:
        stage("Training and comparing")
        comparison = compare_generalisation(
            methods,
            make_model,
            used,
            args,
            budget,
            seeds=adapt_args.seeds,
            unseen=None if last is None else (unseen.name, last),
            select=select,
            invert=not model_args.pretrained if adapt_args.invert is None else adapt_args.invert,
            callbacks=watched.callbacks,
            on_result=lambda found: watched.done(found.method, {"left_out_accuracy": found.mean, **found.by_domain}),
            store=args.run_store(stored_dtype=model_args.stored_dtype),
            executor=executor,
        )
    if not args.should_save:
        sharing.push()
        return
    found = comparison.found
    classifier = comparison.run.model.export_classifier()
    lengths = [length_sentence(result.method, result.steps, result.ended, budget) for result in found.results]
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        learning_rate=used.learning_rate(budget),
        seed=adapt_args.seeds[0],
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        notes=tuple(filter(None, [*map(str, comparison.failed), *lengths, balance.sentence])),
    )
    report = generalisation_report(
        found,
        classifier,
        facts,
        sources=sources,
        prepared=prepared[first],
        unseen=unseen,
        rates=comparison.run.rates,
        confusion=confusion_table(sources.label_names, comparison.true, comparison.predicted),
    )
    print(*map(str, comparison.failed), generalisation_table(found), sep="\n")
    words = generalisation_words(found)
    said = filter(None, (words[name] for name in ("sentence", "choice", "alike", "tested")))
    print(*said, *verdict_lines(report), *filter(None, lengths), sep="\n")
    stage("Writing the report, the card and the model")
    save_results(
        args.output_dir,
        replace(report, runs=comparison.runs),
        classifier,
        prepared[first].raw_inputs,
        resolved_config(model_args, domain_args, adapt_args, weight_args, args),
        base_model=model_args.base_model,
        datasets=domain_args.source,
        watt_hours=sharing.energy.watt_hours(),
        dtype=model_args.stored_dtype,
        **args.card,
    )
    stage("Reading back what was saved")
    check_saved(args.output_dir, classifier, unseen or sources.first, last or prepared[first])
    print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
