"""Other sources: each races by itself, and is judged by the same test rows."""

from types import SimpleNamespace

import numpy as np
import pytest
from bright_rows import BUDGET, make_model, race
from transformers import TrainerCallback

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.metrics import mean_metric
from hf_transfer_kit.selection import Comparison, OtherSource, compare_sources
from hf_transfer_kit.selection.contest.bootstrap import paired_bootstrap


def sources(comparison, others, strategies, args, **settings):
    return compare_sources(comparison, "mine", others, strategies, args, BUDGET, **settings)


def test_the_same_network_again_gives_exactly_nothing(data, args):
    strategies = ["head_only", "full", "from_scratch"]
    mine = race(data, args, strategies, seeds=(0, 1))
    (found,) = sources(mine, [OtherSource("twin", make_model, data)], strategies, args, seeds=(0, 1))
    best = max(
        (result for result in mine.results if result.strategy != "from_scratch"),
        key=lambda result: (result.validation["accuracy"], -result.validation["loss"]),
    )
    assert (found.source, found.result.strategy) == ("twin", best.strategy)
    assert found.result.test == best.test
    expected = paired_bootstrap(mine.tested[mine.winner], mine.tested[best.strategy])
    assert (found.verdict.difference, found.verdict.low, found.verdict.high) == expected
    assert found.verdict.baseline == "twin"


def test_the_judgement_reads_the_kept_rows(data, args):
    """A first race that got every row right is better than any network by what that one got wrong."""
    mine = race(data, args, ["head_only"])
    perfect = Comparison(**{**vars(mine), "tested": {mine.winner: [mean_metric(np.ones(13))]}})
    (found,) = sources(perfect, [OtherSource("other", make_model, data)], ["head_only"], args)
    assert found.verdict.difference == pytest.approx(1 - found.result.test["accuracy"])
    if found.verdict.low > 0:
        assert found.verdict.sentence.startswith("mine is a better source than other.")


def test_callbacks_are_told_the_source_and_scratch_is_not_run_again(data, args):
    told: list = []

    def callbacks(name, strategy, seed):
        told.append((name, strategy, seed))
        return [TrainerCallback()]

    mine = race(data, args, ["head_only", "from_scratch"])
    sources(mine, [OtherSource("other", make_model, data)], ["head_only", "from_scratch"], args, callbacks=callbacks)
    assert told == [("other", "head_only", 0)]


@pytest.mark.parametrize(
    ("names", "strategies", "message"),
    [
        (["mine"], ["full"], "Sources mine, mine: a network is named twice"),
        (["a", "a"], ["full"], "Sources mine, a, a"),
        (["a"], ["from_scratch"], "from_scratch is none"),
        (["a"], ["freeze_first:k=99"], "a, another source: "),
    ],
)
def test_bad_settings_are_refused_before_any_run(data, args, names, strategies, message):
    def never(*_):
        raise AssertionError("a run began")

    others = [OtherSource(name, make_model, data) for name in names]
    with pytest.raises(SettingsError, match=message):
        sources(SimpleNamespace(winner="full"), others, strategies, args, callbacks=never)


def test_other_rows_cannot_be_compared(data, args):
    mine = race(data, args, ["head_only"])
    shifted = Comparison(**{**vars(mine), "true": 1 - mine.true})
    with pytest.raises(DataError, match="other was tested on other rows than mine"):
        sources(shifted, [OtherSource("other", make_model, data)], ["head_only"], args)
