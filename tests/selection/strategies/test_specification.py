import pytest

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection import STRATEGIES, make_strategy, strategy_text


@pytest.mark.parametrize("text", [*STRATEGIES, "freeze_first:k=3", "small_lr:factor=0.01"])
def test_text_and_strategy_are_inverse(text):
    assert strategy_text(make_strategy(text)) == text


def test_values_are_typed():
    assert make_strategy("freeze_first:k=3").k == 3
    assert make_strategy("small_lr:factor=0.25").factor == 0.25


def test_defaults_are_left_out_of_the_text():
    assert strategy_text(make_strategy("small_lr:factor=0.001")) == "small_lr"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("freeze", "There is no strategy 'freeze'; choose from head_only"),
        ("freeze_first:depth=3", "its options are k, head"),
        ("full:k=3", "its options are head"),
        ("freeze_first:k", "Write name:option=value"),
    ],
)
def test_errors_say_what_is_allowed(text, message):
    with pytest.raises(SettingsError, match=message):
        make_strategy(text)
