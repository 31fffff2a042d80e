"""Methods as text: every option arrives where it belongs, wrong ones are named."""

import pytest
import torch

from hf_transfer_kit.adaptation import OBJECTIVES
from hf_transfer_kit.adaptation.objectives.strong_view import strong_view
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.selection.adapting import METHODS, make_method
from hf_transfer_kit.selection.adapting.methods import refuse_idle_views


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_defaults(name):
    method = make_method(name)
    assert (method.text, method.name) == (name, name)
    assert method.objective in OBJECTIVES
    assert method.uses_target_labels == (name == "target_supervised")
    assert method.reads_target == (name not in ("source_only", "adabn", "target_supervised", "shallow"))
    assert method.teacher == {"adamatch": 0.999, "self_training": 0.999, "clusters": 0.95}.get(name, 0.0)
    assert (method.view, method.begins_solved, method.labels_target) == (
        (1.0, True, True) if name == "clusters" else (0.0, False, False)
    )
    assert method.reestimate == (name not in ("source_only", "target_supervised"))


def test_options_go_to_the_objective_and_to_the_recipe():
    method = make_method("dann:weight=0.5,view=0.7,batch_norm=joint,reestimate=false,teacher=0.9,invert=false")
    assert method.options == {"weight": 0.5}
    assert (method.view, method.batch_norm, method.reestimate, method.teacher) == (0.7, "joint", False, 0.9)
    torch.manual_seed(0)
    rows = torch.rand(64, 3, 8, 8)
    kept = method.change(rows)
    # Without inversion a changed image still rises where the image rises.
    rises = [
        torch.corrcoef(torch.stack([a.mean(0).flatten(), b.mean(0).flatten()]))[0, 1]
        for a, b in zip(rows, kept, strict=False)
    ]
    inverted = make_method("dann:view=0.01").change(rows)
    falls = [
        torch.corrcoef(torch.stack([a.mean(0).flatten(), b.mean(0).flatten()]))[0, 1]
        for a, b in zip(rows, inverted, strict=False)
    ]
    assert sum(value < 0 for value in rises) < 16
    assert 16 < sum(value < 0 for value in falls) < 48


def test_inversion_follows_the_callers_default_unless_written():
    assert make_method("adamatch", invert=False).options == {"invert": False}
    assert make_method("adamatch:invert=true", invert=False).options == {"invert": True}
    assert make_method("mcc", invert=False).options == {}


@pytest.mark.parametrize("name", [name for name in METHODS if make_method(name).reads_target])
def test_every_method_that_reads_pairs_may_give_the_source_the_targets_style(name):
    method = make_method(f"{name}:style=0.5")
    assert make_method(name).restyle is None
    rows = torch.rand(4, 3, 8, 8)
    assert not torch.equal(method.restyle(rows, rows.flip(0)), rows)


@pytest.mark.parametrize("name", [name for name in METHODS if make_method(name).reads_target])
def test_every_method_that_reads_pairs_may_change_the_source_in_its_own_way(name):
    rows = torch.rand(4, 3, 8, 8)
    assert make_method(name, view=1).source_change is None
    assert torch.equal(make_method(f"{name}:source_view=0,view=1").source_change(rows), rows)
    change = make_method(f"{name}:source_view=0.5,invert=false").source_change
    torch.manual_seed(0)
    changed = change(rows)
    torch.manual_seed(0)
    assert torch.equal(changed, strong_view(rows, 0.5, invert=False))


@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith("shallow") and name != "adabn"])
def test_every_trained_method_may_mirror_its_rows(name):
    rows = torch.rand(64, 3, 8, 8)
    found = make_method(f"{name}:mirror=true,view=0").change(rows)
    turned = [torch.equal(one, other.flip(2)) for one, other in zip(found, rows, strict=True)]
    kept = [torch.equal(one, other) for one, other in zip(found, rows, strict=True)]
    assert all(a != b for a, b in zip(turned, kept, strict=True))
    assert 16 < sum(turned) < 48
    assert make_method(f"{name}:view=0").change is None
    waves = torch.rand(4, 100)
    assert torch.equal(make_method(f"{name}:mirror=true,view=0").change(waves), waves)
    torch.manual_seed(0)
    both = make_method(f"{name}:mirror=true,view=0.5,invert=false")
    changed = both.change(rows)
    torch.manual_seed(0)
    turned_first = make_method(f"{name}:mirror=true,view=0").change(rows)
    assert torch.equal(changed, strong_view(turned_first, both.view, invert=False))


@pytest.mark.parametrize(
    "text",
    [
        "dann:view=1",
        "mcc:mirror=true",
        "dann:source_view=1",
        "adamatch:amount=0.5",
        "mcc:style=1",
        "shot:view=1",
        "mmd:invert=true",
    ],
)
def test_a_change_of_images_is_refused_for_texts(text):
    refuse_idle_views([text], "image")
    if "invert" in text or "mirror" in text:
        with pytest.raises(SettingsError, match=f"{text}: .* changes images, and the network reads sounds"):
            refuse_idle_views(["dann", text], "audio")
    else:
        refuse_idle_views([text], "audio")
    refuse_idle_views([text.replace("=1", "=0").replace("=0.5", "=0").replace("true", "false")], "text")
    with pytest.raises(SettingsError, match=f"{text}: .* changes images and sounds, and the data holds texts"):
        refuse_idle_views(["dann", text], "text")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dan", "There is no method 'dan'; choose from source_only"),
        ("dann:weigth=1", "weigth is no option of dann; its options are dropout, hidden, weight, view"),
        ("dann:weight", "'weight' is no option. Write name:option=value"),
        ("dann:weight=-1", "weight"),
        ("dann:batch_norm=source", "batch_norm"),
        ("adamatch:teacher=2", "teacher"),
        ("shallow:alignment=none_of_these", "alignment"),
        ("mcc:style=1.5", "style"),
        ("mcc:head=solved", "head='solved'"),
        ("mcc:source_view=-1", "source_view"),
        ("source_only:source_view=1", "source_view is no option of source_only"),
        ("source_only:style=1", "style is no option of source_only"),
        ("target_supervised:style=1", "style is no option of target_supervised"),
    ],
)
def test_wrong_text_is_a_sentence(text, words):
    with pytest.raises(SettingsError, match=words):
        make_method(text)
