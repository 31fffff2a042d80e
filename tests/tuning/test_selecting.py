"""Parts of a model by depth, name, glob and regular expression."""

import pytest
import tiny

from hf_transfer_kit import layer_groups
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.selecting import matching_names, parts, selected_names


@pytest.fixture
def groups():
    return layer_groups(tiny.TRANSFORMERS["bert"]()[0])


def test_selectors(groups):
    everything = {name for group in groups for name in group.parameters}
    assert selected_names(groups, "all") == everything
    assert selected_names(groups, "head") == {"classifier.weight", "classifier.bias"}
    assert selected_names(groups, "body") == everything - selected_names(groups, "head")
    assert selected_names(groups, 0) == set(groups[0].parameters)
    assert selected_names(groups, -1) == selected_names(groups, "head")
    assert selected_names(groups, "encoder.layer.1") == set(groups[2].parameters)
    assert selected_names(groups, "*.layer.1.*") == set(groups[2].parameters)
    assert selected_names(groups, r"re:bert\.encoder\.layer\.1\.") == set(groups[2].parameters)


@pytest.mark.parametrize(
    ("selector", "sentence"),
    [
        (5, "Depth 5 is out of range: this model's layer groups are 0 to 4"),
        (-6, "Depth -6 is out of range"),
        (True, "True is no part of a model: give a depth, a name, a glob, or all, body or head"),
        ("layer1.*", "'layer1.*' matches no parameter. Names look like bert.embeddings.word_embeddings.weight"),
        ("re:(", r"'re:\(' is no regular expression"),
    ],
)
def test_selectors_that_mean_nothing(groups, selector, sentence):
    with pytest.raises(SettingsError, match=sentence):
        selected_names(groups, selector)


def test_head_needs_a_head():
    with pytest.raises(SettingsError, match="'head' needs a model with a head"):
        selected_names(layer_groups(tiny.GENERATORS["gpt2_lm"]()[0]), "head")


def test_a_glob_matches_whole_names_and_a_regular_expression_their_beginning(groups):
    assert matching_names(groups, "re:bert") == selected_names(groups, "body")
    with pytest.raises(SettingsError):
        matching_names(groups, "bert")


def test_a_module_is_in_a_part_when_nothing_else_in_it_is_left_to_train(groups):
    layer = "bert.encoder.layer.0.intermediate.dense"
    (part,) = [part for part in parts(groups, {f"{layer}.weight"}) if part.parameters]
    assert not part.modules
    (part,) = [part for part in parts(groups, {f"{layer}.weight", f"{layer}.bias"}) if part.parameters]
    assert set(part.modules) == {layer, "bert.encoder.layer.0.intermediate"}
    (part,) = [part for part in parts(groups, {f"{layer}.weight"}, still={f"{layer}.bias"}) if part.parameters]
    assert layer in part.modules
    (part,) = [part for part in parts(groups, set(groups[1].parameters)) if part.parameters]
    assert part.modules == groups[1].modules
