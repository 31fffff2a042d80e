"""A domain never seen: methods for several sources on PACS, each of its domains in turn as the unseen one.

    python scripts/benchmarks/generalisation.py --seeds 0 1 2

Two of the three domains are sources, each method is trained on both and tested on the third, of which no row was
learned or chosen on. Beside the methods stands the one that leaving one source out chooses: networks of one source
judged on validation rows of the other. There all methods are one but for the averaging, so the first of equal ones,
joint, stands for them.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import datasets
import transformers
from transformers import TrainingArguments

from hf_transfer_kit import load_data, load_model, load_processor, prepare_data
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.generalising import Sources, make_generalisation_method, run_generalisation

SHARED = Path(__file__).resolve().parents[3] / "shared"
DOMAINS = ("photo", "art_painting", "cartoon")
METHODS = ("joint", "joint:average=swad", "coral", "group_dro", "per_domain_bn")
WITH_ONE_SOURCE = METHODS[:2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SHARED / "data" / "pacs"), help="folder of the domains")
    parser.add_argument("--model", default=str(SHARED / "pretrained" / "mobilenetv2_100_imagenet"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rows", type=int, default=8, help="of each source a step")
    parser.add_argument("--evaluations", type=int, default=8)
    parser.add_argument("--out", default="outputs/generalisation.json")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    rows, make_model = prepared(options)
    args = TrainingArguments(
        "outputs/generalisation", use_cpu=True, report_to=[], disable_tqdm=True, lr_scheduler_type="cosine",
        per_device_train_batch_size=options.rows, per_device_eval_batch_size=64,
    )  # fmt: skip
    budget = Budget(options.steps, options.rows, evaluations=options.evaluations)

    def runs(method: str, names: list[str]):
        for seed in options.seeds:
            used = Sources({name: rows[name] for name in names})
            started = time.perf_counter()
            yield run_generalisation(make_generalisation_method(method), make_model, used, args, budget, seed=seed)
            print(f"{method}, {' + '.join(names)}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)

    left_out: dict[str, dict[str, dict[str, float]]] = {}  # method -> source learned from -> other -> accuracy
    for method in WITH_ONE_SOURCE:
        for name in DOMAINS:
            found = list(runs(method, [name]))
            left_out.setdefault(method, {})[name] = {
                other: fmean(accuracy(run, rows[other].validation, rows[other]) for run in found)
                for other in DOMAINS
                if other != name
            }
    unseen: dict[str, dict[str, list[float]]] = {}
    known: dict[str, dict[str, list[float]]] = {}
    for name in DOMAINS:
        others = [other for other in DOMAINS if other != name]
        for method in options.methods:
            found = list(runs(method, others))
            unseen.setdefault(name, {})[method] = [run.tested(rows[name])[0]["accuracy"] for run in found]
            known.setdefault(name, {})[method] = [fmean(run.validation.values()) for run in found]
    told(unseen, known, left_out, options.methods)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps({"unseen": unseen, "known": known, "left_out": left_out}, indent=2) + "\n")


def prepared(options):
    """Every domain's splits, prepared like the first one's, and what makes the network."""
    loaded = {name: load_data(f"{options.data}/{name}") for name in DOMAINS}
    processor = load_processor(options.model, "image")
    names = loaded[DOMAINS[0]].label_names
    if any(data.label_names != names for data in loaded.values()):
        raise SystemExit("The domains' classes differ.")
    first = prepare_data(loaded[DOMAINS[0]], processor, image_size=options.image_size)
    rows = {
        name: first if name == DOMAINS[0] else prepare_data(loaded[name], processor, like=first) for name in DOMAINS
    }
    return rows, lambda seed: load_model(options.model, id2label=dict(enumerate(names)), seed=seed)


def accuracy(run, wanted, domain) -> float:
    """On rows that are no test rows."""
    return run.tested(replace(domain, test=wanted))[0]["accuracy"]


def told(unseen, known, left_out, methods) -> None:
    """The table, in Markdown: accuracy in % on the unseen domain's test rows, mean ± standard deviation over seeds."""
    print(f"| method | {' | '.join(f'{name} unseen' for name in unseen)} | mean | sources' validation rows |")
    print("|---|" + "---|" * (len(unseen) + 2))
    for method in methods:
        cells = [shown(unseen[name][method]) for name in unseen]
        means = [fmean(values) for values in zip(*(unseen[name][method] for name in unseen), strict=True)]
        on_sources = [fmean(values) for values in zip(*(known[name][method] for name in unseen), strict=True)]
        print(f"| `{method}` | {' | '.join(cells)} | {shown(means)} | {shown(on_sources)} |")
    chosen, foretold = {}, {}
    for name in unseen:
        one, other = (source for source in unseen if source != name)
        each = {method: (left_out[method][one][other], left_out[method][other][one]) for method in left_out}
        chosen[name] = max(each, key=lambda method: fmean(each[method]))
        foretold[name] = sorted(each[chosen[name]])
    cells = [f"{shown(unseen[name][chosen[name]])} (`{chosen[name]}`)" for name in unseen]
    means = [fmean(values) for values in zip(*(unseen[name][chosen[name]] for name in unseen), strict=True)]
    print(f"| chosen by leaving one out | {' | '.join(cells)} | {shown(means)} | |")
    cells = [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in foretold.values()]
    print(f"| what it foretold | {' | '.join(cells)} | | |")


def shown(values) -> str:
    """``84.2 ± 1.0``."""
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
