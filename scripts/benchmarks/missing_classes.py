"""What adaptation costs where the target lacks classes of the source, and what is rejected where it has others.

    python scripts/benchmarks/missing_classes.py partial --source MNIST --target MNIST_M --classes 0 1 2 3 4
    python scripts/benchmarks/missing_classes.py open --source MNIST --target MNIST_M --classes 0 1 2 3 4

``partial``: the target shows ``--classes`` alone, the source all. ``open``: the source knows ``--classes`` alone, the
target shows all. Every method has the same steps and keeps its last weights. Prints one line a run, and means.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from transformers import TrainingArguments

from hf_transfer_kit import load_data, prepare_data
from hf_transfer_kit.adaptation.label_shift import shift_diagnosis
from hf_transfer_kit.selection import Budget, fresh_network, fresh_processor
from hf_transfer_kit.selection.adapting import (
    Domains,
    find_rejection,
    judged,
    make_method,
    open_domains,
    run_adaptation,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("case", choices=("partial", "open"))
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--classes", nargs="+", required=True)
    parser.add_argument("--method", nargs="+", default=["source_only:view=1", "dann:view=1", "dann:view=1,shares=true"])
    parser.add_argument("--network", default="dann_mnist")
    parser.add_argument("--rows", type=int, default=12000, help="Source rows to train on.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output_dir", default="outputs/missing_classes")
    flags = parser.parse_args()
    open_target, chosen = flags.case == "open", {"label": flags.classes}
    source = load_data(flags.source, keep_rows=chosen if open_target else None, train_size=flags.rows)
    target = load_data(
        flags.target,
        keep_rows=None if open_target else chosen,
        labelled=False,
        class_names=source.label_names,
        open_classes=open_target,
    )
    processor = fresh_processor(flags.network)
    prepared = prepare_data(source, processor)
    domains = Domains(
        prepared,
        prepare_data(target, processor, like=prepared),
        labelled=target.labelled_splits,
        pretrained=False,
    )
    judged_on = None
    if open_target:
        domains, judged_on = open_domains(domains)
    args = TrainingArguments(
        flags.output_dir, report_to=[], disable_tqdm=True, lr_scheduler_type="cosine", warmup_steps=0.03
    )
    budget, found = Budget(flags.steps, 64, evaluations=1), defaultdict(list)

    def network(seed: int):
        return fresh_network(flags.network, source.label_names, seed=seed)

    for text in flags.method:
        method = make_method(text)
        for seed in flags.seeds:
            run = run_adaptation(method, network, domains, args, budget, seed=seed, select="last")
            figures = {"accuracy": run.test["accuracy"]}
            if open_target:
                choice, unknown = find_rejection(method, run, network, domains, args, budget, select="last")
                unknown = judged(unknown, choice, run, judged_on)
                figures |= {"held_out_auroc": unknown.held_out_auroc, **unknown.test}
            else:
                figures |= {"shift": run.shift.sure, "told": float(shift_diagnosis(run.shift) is not None)}
            found[text].append(figures)
            print(text, f"seed {seed}", *(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    for text, runs in found.items():
        means = {name: [run[name] for run in runs] for name in runs[0]}
        spread = (
            f"{name} {np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"
            for name, values in means.items()
        )
        print(f"{text}:", ", ".join(spread))


if __name__ == "__main__":
    main()
