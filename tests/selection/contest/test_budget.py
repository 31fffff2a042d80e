import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import Budget, default_steps


@pytest.mark.parametrize(("rows", "steps"), [(10, 50), (200, 50), (400, 100), (100_000, 300)])
def test_default_steps_are_eight_passes_within_limits(rows, steps):
    assert default_steps(rows, 32, "image") == steps


@pytest.mark.parametrize(("steps", "evaluations", "expected"), [(100, 5, 20), (63, 5, 13), (3, 5, 1)])
def test_the_last_step_is_at_most_the_last_evaluation(steps, evaluations, expected):
    budget = Budget(steps, 32, evaluations=evaluations)
    assert budget.eval_steps == expected
    assert budget.eval_steps * evaluations >= steps


def test_a_given_rate_holds_for_all_kinds_and_no_rate_gives_each_kind_its_own():
    assert {Budget(1, 1, learning_rate=0.1).rate("image", kind) for kind in ("head", "body", "scratch")} == {0.1}
    assert len({Budget(1, 1).rate("text", kind) for kind in ("head", "body", "scratch")}) == 3


def test_an_empty_budget_is_refused():
    with pytest.raises(SettingsError, match="0 steps"):
        Budget(0, 32)
