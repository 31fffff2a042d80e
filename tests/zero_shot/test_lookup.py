"""From attributes to classes."""

import numpy as np
import pytest

from hf_transfer_kit.errors import DataError, SettingsError
from hf_transfer_kit.zero_shot import AttributeTable, digit_strokes, look_up

TABLE = AttributeTable.of({"zebra": [1, 1, 0], "horse": [0, 1, 0], "wasp": [1, 0, 1]})


@pytest.mark.parametrize("how", ["cosine", "likelihood"])
def test_attributes_read_rightly_name_every_class(how):
    assert look_up(TABLE.values, TABLE, how=how) == TABLE.classes
    assert look_up(digit_strokes().values, digit_strokes(), how=how) == digit_strokes().classes


def test_both_ways_by_hand():
    said = np.array([[0.9, 0.8, 0.2]])
    assert look_up(said, TABLE) == ("zebra",)
    # Priors 2/3, 2/3, 1/3: zebra 0.9/(2/3) 0.8/(2/3) 0.8/(2/3); wasp 0.9/(2/3) 0.2/(1/3) 0.2/(1/3).
    assert look_up(said, TABLE, how="likelihood") == ("zebra",)
    # What is rare speaks louder.
    unsure = np.array([[0.5, 0.5, 0.5]])
    assert look_up(unsure, TABLE, how="likelihood", priors=[0.9, 0.5, 0.5]) == ("horse",)
    assert look_up(unsure, TABLE, how="likelihood", priors=[0.5, 0.9, 0.1]) == ("wasp",)


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(DataError, match=r"shape \(1, 2\), but the table has 3 attributes"):
        look_up(np.zeros((1, 2)), TABLE)
    with pytest.raises(DataError, match=r"probabilities in \[0, 1\]"):
        look_up(np.array([[2.0, 0, 0]]), TABLE, how="likelihood")
    with pytest.raises(SettingsError, match="how='near' is unknown; choose 'cosine' or 'likelihood'"):
        look_up(TABLE.values, TABLE, how="near")
