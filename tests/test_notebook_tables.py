"""What a notebook shows of results: every public result with a table has one, of the text's figures, names as text."""

import inspect
import re
from dataclasses import replace

import pytest
import tiny
from hub.report_kinds import CARDS, named
from hub.test_hostile_names import NAMES, Structure
from reports import adaptation_case, generalisation_case, multitask_case, verdict_case, zero_shot_case
from test_examples import MEMBERS, own_functions, words
from test_examples import THINGS as EXAMPLES

from hf_transfer_kit import TransferReport, layer_groups
from hf_transfer_kit.plain_tables import PlainTable
from hf_transfer_kit.predicting import ClassAnswer, Predictions, SkippedRow
from hf_transfer_kit.reports import report_text
from hf_transfer_kit.selection import Comparison
from hf_transfer_kit.selection.adapting import AdaptationComparison
from hf_transfer_kit.selection.contest.outcome import Outcome
from hf_transfer_kit.selection.generalising import GeneralisationComparison
from hf_transfer_kit.selection.multitasking import MultiTaskComparison
from hf_transfer_kit.selection.unseen_classes import ZeroShotComparison
from hf_transfer_kit.values import (
    CaseMeasures,
    DepthSearch,
    Elimination,
    FailedRun,
    LayerGroup,
    LayerGroups,
    RankedSource,
    Recommendation,
    RunFigures,
    Score,
    SourceRanking,
    StrategyOutlook,
    Transferability,
    UnseenClasses,
)

ONE_LINE = {"Diagnosis", "Explanation", "FailedRun", "Score", "StrategyOutlook"}
"""Words that are printed as one line, which needs no table."""
NO_RESULTS = {"Section", "ZeroShotModel"}
"""Words whose ``table`` is another thing: how a report is printed, and a network's attributes."""
GIVES_RESULTS = re.compile(
    r"compare_\w+|rank_\w+|search_\w+|single_run|recommend|transferability|layer_groups|report_text"
)


def results_with_a_table():
    """Names of the public classes that are printed as tables, and of what comparisons, rankings and the like give."""
    classes = {name: member for (_, name), member in MEMBERS.items() if inspect.isclass(member)}
    found = set()
    for (_, name), member in MEMBERS.items():
        if inspect.isclass(member):
            own = [vars(base) for base in member.__mro__ if base.__module__.startswith("hf_transfer_kit")]
            if any(word in parts for parts in own for word in ("__str__", "table", "to_pandas")):
                found.add(name)
        elif GIVES_RESULTS.fullmatch(name):
            (function,) = own_functions(member)
            taken = ["return"] if name != "report_text" else ["report"]
            named_there = set().union(*(words(function.__annotations__[each]) for each in taken))
            found |= {each for each in named_there & set(classes) if each != "SourceResult"}
    return found - ONE_LINE - NO_RESULTS


def runs(name, metric="accuracy"):
    """Two seeds of two candidates."""
    return tuple(
        RunFigures(
            candidate + name, seed, {"validation": {metric: value + seed / 50}, "test": {metric: value - 0.05}}, 8, 1.5
        )
        for candidate, value in (("full", 0.75), ("head_only", 0.625))
        for seed in (0, 1)
    )


def failed(name):
    return (FailedRun("gradual" + name, 1, 3, f"the loss of {name} was NaN"),)


def groups(name):
    found = layer_groups(tiny.TRANSFORMERS["resnet"]()[0])
    return LayerGroups(
        tuple(LayerGroup(each.name + name, each.modules, each.parameters, each.is_head) for each in found)
    )


def ranking(name):
    source = RankedSource("net" + name, Score(0.5123, 0.01), {}, 11_700_000, 64, 2.25, 0.75)
    return SourceRanking(
        "h_score",
        "birds" + name,
        60,
        (source, replace(source, name="rival", score=Score(0.25))),
        {"gone" + name: "no" + name},
    )


def recommendation(name):
    measures = CaseMeasures(60, 3, 20, 1000, "image", 60, 0.8, 0.7, 0.5)
    outlook = (StrategyOutlook("head_only", 0.0213, 0.031), StrategyOutlook("full" + name, 0.0, 0.02))
    reasons = (f"Rows of {name} are few: 20 a class.",)
    return Recommendation("head_only", "small, similar", {}, reasons, 0.59, (f"More of {name}.",), outlook, measures)


def adaptations(name):
    (first, *others) = adaptation_case.adaptation().results
    first = replace(first, method="full" + name, verdict=verdict_case.verdict("full" + name, "x", "helped", 0.1))
    return AdaptationComparison((first, *others), "full" + name, None, (), (), failed=failed(name), runs=runs(name))


def generalisations(name):
    found = generalisation_case.generalisation()
    results = tuple(replace(each, method=each.method + name) for each in found.results)
    found = replace(found, results=results, chosen=found.chosen + name)
    return GeneralisationComparison(found, None, None, None, failed(name), runs(name))


def multitaskings(name):
    (first, *_) = multitask_case.multitasking().results
    verdict = verdict_case.verdict("full" + name, "alone", "helped", 0.1)
    first = replace(first, method="full" + name, verdicts={"topic": verdict})
    return MultiTaskComparison(
        (first,), "full" + name, None, {}, 0.1, failed=failed(name), runs=runs(name, "f1" + name)
    )


def unseen(name):
    found = zero_shot_case.unseen_classes()
    return replace(
        found,
        results=tuple(replace(each, method=each.method + name) for each in found.results),
        chosen=found.chosen + name,
    )


def race(name):
    given_up = (Elimination("lora" + name, 4, 8, 0.5),)
    verdict = verdict_case.verdict("full" + name, "from_scratch", "helped", 0.1)
    return Comparison(
        (), "full" + name, verdict, None, {}, None, None, 0.1, eliminated=given_up, failed=failed(name), runs=runs(name)
    )


CASES = {
    "AdaptationComparison": adaptations,
    "Comparison": race,
    "DepthSearch": lambda name: replace(
        EXAMPLES["search"](), notes=(f"No cache of {name}",), results=tuple(replace(r, group=name[:9]) for r in EXAMPLES["search"]().results)
    ),
    "GeneralisationComparison": generalisations,
    "LayerGroups": groups,
    "MultiTaskComparison": multitaskings,
    "Predictions": lambda name: Predictions(
        (ClassAnswer(f"a{name}.jpg", None, "cat" + name, (("cat" + name, 0.75), ("dog", 0.25))),), (SkippedRow("b", name),)
    ),
    "Recommendation": recommendation,
    "SourceRanking": ranking,
    "Transferability": lambda name: Transferability({"h_score": Score(0.5123, 0.01), "own" + name: Score(3.5)}, 60, 3, 64, {"leep" + name: name}),
    "TransferReport": lambda name: named(CARDS["transfer"](), name),
    "UnseenClasses": unseen,
    "ZeroShotComparison": lambda name: ZeroShotComparison(unseen(name), None, {}),
}  # fmt: skip
TEXTS = {"TransferReport": report_text, "Predictions": repr}


def test_every_public_result_with_a_table_is_here():
    assert results_with_a_table() == set(CASES)
    assert len(CASES) >= 12
    own = {UnseenClasses, DepthSearch, LayerGroups, TransferReport, *Outcome.__subclasses__()}
    assert all("_repr_html_" in dir(kind) for kind in own)


@pytest.mark.parametrize("kind", CASES)
def test_figures_and_sentences_are_those_of_the_text(kind):
    found = CASES[kind](" of mine")
    page, text = found._repr_html_(), TEXTS.get(kind, str)(found)
    shown = re.sub(r"\s+", " ", Structure(page.replace("</t", " </t").replace("</p", " </p")).words)
    missing = [word for word in text.split() if word != "*" and word not in shown]
    assert not missing
    assert len(re.findall(r"\d", text)) >= 4
    assert len(page) < 8_000


@pytest.mark.parametrize("kind", CASES)
def test_ipython_without_a_browser_shows_the_text(kind):
    formatters = pytest.importorskip("IPython.core.formatters")
    found = CASES[kind](" of mine")
    shown, _ = formatters.DisplayFormatter().format(found)
    assert shown == {"text/plain": TEXTS.get(kind, str)(found), "text/html": found._repr_html_()}


@pytest.mark.parametrize("hostile", NAMES)
@pytest.mark.parametrize("kind", CASES)
def test_names_are_text_whatever_they_hold(kind, hostile):
    page = CASES[kind](NAMES[hostile])._repr_html_()
    found = Structure(page)
    assert found.tags == Structure(CASES[kind](" of mine")._repr_html_()).tags
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", page)
    assert found.places == []


@pytest.mark.parametrize("kind", CASES)
def test_it_is_read_on_light_and_dark_ground_and_changes_nothing_around_it(kind):
    page = CASES[kind](" of mine")._repr_html_()
    assert not re.search(r"<(style|script|link|img)|https?:|#[0-9a-f]{3}|(?<!-)\b(id|class)=", page)
    colours = set(re.findall(r"color:(\w+)|background:(\w+)", page))
    assert colours <= {("inherit", ""), ("", "none")}


def test_the_chosen_row_is_marked_in_both():
    table = PlainTable(("name", "value"), [("a", "1.0"), ("long", "12.5")], marked=1, after=("Done.",))
    assert table.text().splitlines() == ["  name  value", "  a       1.0", "* long   12.5", "Done."]
    assert replace(table, marked=None).text().splitlines()[1] == "a       1.0"
    assert [cell for cell in re.findall(r"<td style=\"([^\"]*)\"", table.html()) if "bold" in cell] != []
    assert table.html().count("font-weight:bold") == 2


def test_means_are_over_the_seeds_and_a_candidate_without_a_figure_has_none():
    given = (*runs(""), RunFigures("odd", 0, {"test": {"loss": 0.5}}, 8, 1.0))
    found = replace(race(""), runs=given, failed=(), eliminated=())
    lines = str(found).splitlines()
    assert lines[0].split() == ["candidate", "validation", "accuracy", "test", "accuracy", "test", "loss"]
    assert lines[1].split() == ["*", "full", "0.760", "0.700"]
    assert lines[3].split() == ["odd", "0.500"]
