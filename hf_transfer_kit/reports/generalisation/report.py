"""A comparison of methods for several sources as a report and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from torch import nn

from hf_transfer_kit.data import LoadedData, LoadedSources, PreparedData
from hf_transfer_kit.reports.described import described_data
from hf_transfer_kit.reports.facts import RunFacts
from hf_transfer_kit.reports.generalisation.words import why_not_generalised
from hf_transfer_kit.reports.layer_rows import layer_rows
from hf_transfer_kit.reports.report import TransferReport
from hf_transfer_kit.values import ConfusionTable, Generalisation

_WORDS = {"batch_size": "rows of each source a step"}


def generalisation_report(
    found: Generalisation,
    model: nn.Module,
    facts: RunFacts,
    *,
    sources: LoadedSources,
    prepared: PreparedData,
    unseen: LoadedData | None = None,
    rates: Mapping[str, float] | None = None,
    confusion: ConfusionTable | None = None,
) -> TransferReport:
    """Puts a comparison into a report.

    ``metrics`` are those of the saved network: ``accuracy``, the mean over the sources' test rows;
    ``accuracy_on_NAME`` of each, and of the unseen domain. ``baselines`` are the other methods' means over the sources
    left out, ``left_out_accuracy``, which ``metrics`` have too.

    Args:
        found: What was found.
        model: The saved classifier, for the table of its layer groups.
        facts: What is known of the run.
        sources: As loaded.
        prepared: The first one's splits as trained on.
        unseen: The domain of the last figure, as loaded.
        rates: Parameter's name in the classifier -> highest rate that it learned with; None: not known.
        confusion: Of the saved network on the test rows of the unseen domain, else of all sources.

    Example:
        >>> facts = RunFacts("net", "python adapt.py", budget=budget, learning_rate=1e-3)
        >>> from hf_transfer_kit.data import LoadedSources
        >>> sources, prepared = LoadedSources({"photo": loaded}), prepare_data(loaded, processor)
        >>> made = generalisation_report(generalisation, model, facts, sources=sources, prepared=prepared)
        >>> made.winner
        'joint:average=swad'
    """
    result = found.result(found.chosen)
    metrics = {
        "accuracy": fmean(values[0] for values in found.known.values()),
        "left_out_accuracy": result.mean,
        **{f"accuracy_on_{name}": values[0] for name, values in found.known.items()},
    }
    data = described_data(sources, prepared)
    if unseen is not None:
        metrics[f"accuracy_on_{found.unseen_name}"] = found.unseen[0]
        for part, told in (("sizes", unseen.sizes()), ("fingerprints", unseen.fingerprints())):
            data[part] = {**data[part], f"{found.unseen_name} (unseen), test": told["test"]}
    return facts.report(
        "adapt",
        title=f"{facts.model_name} from {sources.name} to domains never seen",
        dataset_name=sources.name,
        metrics=metrics,
        baselines={
            other.method: {"left_out_accuracy": other.mean} for other in found.results if other.method != found.chosen
        },
        plan={
            "method": found.chosen,
            **{_WORDS.get(name, name): value for name, value in facts.spent.items()},
            "weights kept by": "accuracy on validation rows of the sources trained on"
            if found.selected_by == "accuracy"
            else found.selected_by,
        },
        layer_groups=layer_rows(model, rates),
        data=data,
        seconds={other.method: other.seconds for other in found.results},
        winner=found.chosen,
        seeds=result.seeds,
        confusion=confusion,
        generalisation=found,
        verdict=result.verdict,
        no_verdict=why_not_generalised(found),
    )


def generalisation_table(found: Generalisation) -> str:
    """The table of methods for the console: accuracy on each source left out, the chosen method marked.

    Example:
        >>> [line.split()[1] for line in generalisation_table(generalisation).splitlines() if line.startswith("*")]
        ['joint:average=swad']
    """
    width = max(len("method"), *(len(result.method) for result in found.results))
    columns = [max(11, len(name) + 4) for name in found.sources]
    heads = "  ".join(f"{f'- {name}':>{size}}" for name, size in zip(found.sources, columns, strict=True))
    lines = [f"  {'method':<{width}}  {heads}  {'mean':>13}  {'worst':>6}  {'learned from':>12}  {'seconds':>8}"]
    for result in found.results:
        mark = "*" if result.method == found.chosen else " "
        means = result.by_domain
        cells = "  ".join(f"{means[name]:>{size}.3f}" for name, size in zip(found.sources, columns, strict=True))
        mean = f"{result.mean:.3f}" + (f" ± {result.spread:.3f}" if len(result.seeds) > 1 else "")
        lines.append(
            f"{mark} {result.method:<{width}}  {cells}  {mean:>13}  {means[result.worst]:>6.3f}  "
            f"{result.known:>12.3f}  {result.seconds:>8.1f}"
        )
    return "\n".join(lines)
