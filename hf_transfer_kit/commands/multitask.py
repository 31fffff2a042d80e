"""Several tasks on one trunk, beside each task alone: which way of sharing, what it gains, and whether it hurts.

    hf-transfer multitask --config tasks.yaml

Tasks may share rows, and inputs that differ (grey and colour pictures, two vocabularies) may have first layers of their
own. Every method, and each task alone, runs under one budget. With --source_task one task is learned first and must
not be lost: forgetting is in the table. Writes a report with the tasks' affinities, a model card, the settings and the
network. Without arguments a small network learns the digit and the amount of ink of scikit-learn's digits in grey,
together with the digit of a hundred digits on photographs in colour.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_transfer_kit.commands.edge.places import checked_output
from hf_transfer_kit.commands.edge.settings import command_line, parse_arguments, resolved_config
from hf_transfer_kit.commands.edge.sharing import Sharing
from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.watched import Watched
from hf_transfer_kit.commands.flags.arguments import BalanceArguments, PreparationArguments
from hf_transfer_kit.commands.flags.kept_tasks import growing_of_tasks
from hf_transfer_kit.commands.flags.network_arguments import KeptModelArguments
from hf_transfer_kit.commands.flags.run_arguments import RaceTrainingArguments
from hf_transfer_kit.commands.flags.task_arguments import TaskArguments
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import check_saved, save_results
from hf_transfer_kit.reports import (
    RunFacts,
    described_tasks,
    growing_table,
    length_sentence,
    multitask_report,
    multitask_table,
    verdict_lines,
)
from hf_transfer_kit.selection import DANN_MNIST
from hf_transfer_kit.selection.multitasking import METHODS, compare_multitask, make_method
from hf_transfer_kit.values import MultiTasking

EMBEDDED_TASKS = {
    "digit": {"dataset": "digits", "input": "grey"},
    "ink": {"dataset": "digits", "input": "grey", "label": "ink", "type": "regression"},
    "colour_digit": {"dataset": "digits_m", "input": "colour", "train_size": 100},
}
EMBEDDED_INPUTS = {"grey": {"channels": 1}, "colour": {}}


@dataclass
class MethodArguments:
    """How to train them."""

    methods: list[str] = field(
        default_factory=lambda: ["single", "multitask"],
        metadata={
            "help": f"Of {', '.join(METHODS)}; options after a colon: multitask:balancing=pcgrad,mixing=equal.",
            "aliases": ["--method"],
        },
    )
    shared_from: int | None = field(
        default=None, metadata={"help": "First layer groups that each input has for itself; default: 1 with inputs."}
    )
    source_task: str | None = field(
        default=None, metadata={"help": "Task that is learned first and must not be lost (sequential, lwf, replay)."}
    )
    seeds: list[int] = field(default_factory=lambda: [0], metadata={"help": "One run each."})


FLAGS = (
    KeptModelArguments,
    TaskArguments,
    PreparationArguments,
    MethodArguments,
    BalanceArguments,
    RaceTrainingArguments,
)
"""Dataclasses of its flags."""


def main() -> None:
    started = time.perf_counter()
    model_args, task_args, preparation, method_args, balance_args, args = parse_arguments(*FLAGS, recipe="multitask")
    balance = balance_args.balance()
    checked_output(args, model_args, task_args)
    model_args.refuse_probe("for several tasks")
    sharing = Sharing(args, model_args.base_model)
    methods = [make_method(text) for text in method_args.methods]
    if task_args.tasks is None:
        print("Embedded example: digits in grey and their ink, with a hundred digits on photographs in colour.")
        task_args.tasks, task_args.inputs = EMBEDDED_TASKS, EMBEDDED_INPUTS
        if args.max_steps <= 0 and args.num_train_epochs is None:
            args.max_steps = 200
    if task_args.old_classes == "replaced":
        model_args.model_name_or_path = model_args.model_name_or_path or DANN_MNIST
    with args.main_process_first():
        make_network, tasks = task_args.load(model_args, preparation, balance)
    shared_from = method_args.shared_from
    if shared_from is None:
        shared_from = 1 if tasks.inputs else 0
    rows = max(len(task.prepared.train) for task in tasks.tasks)
    budget = args.budget(rows, tasks.tasks[0].prepared.modality)
    if args.evaluations is not None and budget.patience is None:
        raise SettingsError(
            f"--evaluations {args.evaluations} does nothing where runs do all their steps, for they are looked at "
            "once, at their end. Give --patience too, or leave it out."
        )
    watched = Watched(
        "multitask",
        method_args.methods,
        model_args,
        args,
        title=f"{model_args.display_name} for {', '.join(tasks.names)}",
        dataset_name=", ".join(dict.fromkeys(task.loaded.name for task in tasks.tasks)),
        data=described_tasks([task.describe() for task in tasks.tasks], tasks.tasks[0].prepared.modality),
        seeds=method_args.seeds,
        budget=budget,
        runs=(len(methods) + len(tasks.names)) * len(method_args.seeds),
    )
    with args.run_executor() as executor:
        stage("Training and comparing")
        comparison = compare_multitask(
            methods,
            make_network,
            tasks,
            args,
            budget,
            seeds=method_args.seeds,
            shared_from=shared_from,
            source_task=method_args.source_task,
            callbacks=watched.callbacks,
            on_result=lambda result: watched.done(result.method, {n: f.validation for n, f in result.figures.items()}),
            store=args.run_store(stored_dtype=model_args.stored_dtype),
            executor=executor,
        )
    if not args.should_save:
        sharing.push()
        return
    found = MultiTasking(
        tasks=tuple(task.describe() for task in tasks.tasks),
        results=comparison.results,
        chosen=comparison.chosen,
        source_task=method_args.source_task,
        before=comparison.before,
    )
    grown = growing_of_tasks(task_args.trained, comparison.model, tasks.tasks) if task_args.trained else {}
    lengths = [length_sentence(result.method, result.run_steps, result.ended, budget) for result in found.results]
    facts = RunFacts(
        model_name=model_args.display_name,
        budget=budget,
        learning_rate=comparison.learning_rate,
        seed=method_args.seeds[0],
        command=command_line(),
        seconds={"total": time.perf_counter() - started},
        notes=(
            *map(str, comparison.failed),
            *filter(None, lengths),
            *(f"{name}: {growing.sentence}" for name, growing in grown.items()),
        ),
    )
    report = multitask_report(
        found,
        comparison.model.export(found.tasks[0].name),
        facts,
        modality=tasks.tasks[0].prepared.modality,
        model_metrics=comparison.metrics,
    )
    grown_lines = (f"{name}:\n{growing_table(g)}" for name, g in grown.items())
    print(multitask_table(found), *verdict_lines(report), *filter(None, lengths), *grown_lines, sep="\n")
    config = resolved_config(model_args, task_args, preparation, method_args, balance_args, args)
    stage("Writing the report, the card and the model")
    save_results(
        args.output_dir,
        replace(report, runs=comparison.runs),
        comparison.model,
        {task.input: task.prepared.raw_inputs for task in tasks.tasks},
        config,
        base_model=model_args.base_model,
        datasets=[task["dataset"] for task in task_args.tasks.values()],
        watt_hours=sharing.energy.watt_hours(),
        dtype=model_args.stored_dtype,
        **args.card,
    )
    for task in tasks.tasks:
        stage("Reading back what was saved")
        check_saved(args.output_dir, comparison.model, task.loaded, task.prepared, task=task.name, input=task.input)
    print(f"The report is {Path(args.output_dir) / 'report.html'}.")
    sharing.push()
