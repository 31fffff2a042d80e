"""What adapt.py does with --source_model: a trained network and a target, without a row of its source."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from hf_transfer_kit.backbones import fit_window, load_model
from hf_transfer_kit.commands.edge.settings import command_line, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.watched import Watched
from hf_transfer_kit.commands.flags.domain_arguments import DomainArguments
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import ComparisonArguments
from hf_transfer_kit.data import load_data
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import check_saved, save_results
from hf_transfer_kit.reports import (
    RunFacts,
    adaptation_report,
    adaptation_table,
    confusion_table,
    described_data,
    length_sentence,
    verdict_lines,
)
from hf_transfer_kit.selection.adapting import TargetAlone, checked_source_free, compare_source_free
from hf_transfer_kit.values import Adaptation

DEFAULT = ["source_model", "adabn", "shot:view=1"]
_UNKNOWN = (
    "No row of the source was at hand: whether its classes are still told there, and how far the domains lie apart, is "
    "not known."
)


def adapt_source_free(
    model_args: KeptModelArguments,
    domain_args: DomainArguments,
    adapt_args,
    args: ComparisonArguments,
    sharing: Sharing,
) -> None:
    """Compares methods that need no source rows and saves the chosen network.

    Raises:
        SettingsError: When flags of a source are given beside, or the target is missing.
    """
    started = time.perf_counter()
    given = (domain_args.source or None, model_args.model_name_or_path)
    if domain_args.target is None or given not in ((None, None), (None, domain_args.source_model)):
        raise SettingsError(
            "--source_model stands in place of --source and --model_name_or_path: give it with --target alone."
        )
    methods = list(
        dict.fromkeys([*(DEFAULT[:2] if adapt_args.baselines else []), *(adapt_args.methods or DEFAULT[2:])])
    )
    checked_source_free(methods, seeds=adapt_args.seeds, select=adapt_args.select)
    model_args.model_name_or_path = domain_args.source_model
    trained = load_model(domain_args.source_model, trust_remote_code=model_args.trust_remote_code)
    names = tuple(trained.config.id2label[index] for index in range(trained.config.num_labels))
    with args.main_process_first():
        loaded = load_data(
            domain_args.target,
            config_name=domain_args.target_config,
            input_column=domain_args.target_input_column or domain_args.input_column,
            label_column=domain_args.target_label_column or domain_args.label_column,
            labelled=False,
            class_names=names,
            validation_size=domain_args.validation_size,
            test_size=domain_args.test_size,
            missing_label=domain_args.missing_label,
            skip_bad_rows=domain_args.skip_bad_rows,
            seed=domain_args.split_seed,
        )
        model_args.check_modality(trained, loaded)
        prepared = domain_args.prepare(loaded, model_args.processor(trained))

    def make_model() -> PreTrainedModel:
        again = load_model(domain_args.source_model, trust_remote_code=model_args.trust_remote_code)
        return fit_window(again, prepared.processor)

    target = TargetAlone(prepared, loaded.labelled_splits, names)
    budget = args.budget(len(prepared.train), loaded.modality)
    watched = Watched(
        "adapt",
        methods,
        model_args,
        args,
        title=f"{model_args.display_name} to {loaded.name} without its source",
        dataset_name=loaded.name,
        data={**described_data(loaded, prepared), "classes": list(names)},
        seeds=adapt_args.seeds,
        budget=budget,
        runs=len(methods) * len(adapt_args.seeds),
    )
    with args.run_executor() as executor:
        stage("Training and comparing")
        comparison = compare_source_free(
            methods,
            make_model,
            target,
            args,
            budget,
            seeds=adapt_args.seeds,
            select=adapt_args.select,
            invert=bool(adapt_args.invert),
            callbacks=watched.callbacks,
            on_result=lambda result: watched.done(result.method, result.scores),
            store=args.run_store(stored_dtype=model_args.stored_dtype),
            executor=executor,
        )
    if not args.should_save:
        sharing.push()
        return
    found = Adaptation(
        source_name=f"{model_args.display_name} without its source",
        target_name=loaded.name,
        results=comparison.results,
        chosen=comparison.chosen,
        selected_by=adapt_args.select,
        agreements=(),
        feature_maps=(),
    )
    run = comparison.run
    classifier = run.model.export_classifier()
    lengths = [length_sentence(result.method, result.steps, result.ended, budget) for result in found.results]
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        learning_rate=budget.rate(prepared.reads, "body"),
        seed=adapt_args.seeds[0],
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        notes=(*map(str, comparison.failed), *filter(None, lengths), _UNKNOWN),
    )
    report = adaptation_report(
        found,
        classifier,
        facts,
        model_metrics=run.test,
        data=loaded,
        source=None,
        prepared=prepared,
        rates=run.rates,
        confusion=confusion_table(names, run.true, run.predicted) if len(run.true) else None,
    )
    print(*map(str, comparison.failed), adaptation_table(found), *verdict_lines(report), sep="\n")
    print(*filter(None, lengths), sep="\n")
    stage("Writing the report, the card and the model")
    save_results(
        args.output_dir,
        replace(report, runs=comparison.runs),
        classifier,
        prepared.raw_inputs,
        resolved_config(model_args, domain_args, adapt_args, args),
        base_model=model_args.base_model,
        datasets=[domain_args.target],
        watt_hours=sharing.energy.watt_hours(),
        dtype=model_args.stored_dtype,
        **args.card,
    )
    stage("Reading back what was saved")
    check_saved(args.output_dir, classifier, loaded, prepared)
    print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
