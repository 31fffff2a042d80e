"""What holds for every method: finite terms, gradients to the features, order of rows, checkpoints, refusals."""

import copy
import inspect
import io
from dataclasses import replace

import pytest
import torch
from domain_batches import CLASSES, WIDTH, domain_batch

from hf_transfer_kit.adaptation.objectives import OBJECTIVES
from hf_transfer_kit.errors import ModelError, SettingsError, TransferKitError


def objective_and_batch(name, *, sources=5, targets=4, dtype=torch.float64, second_look=True, **options):
    batch, *_ = domain_batch(sources, targets, dtype=dtype, second_look=second_look)
    torch.manual_seed(1)
    if "threshold" in inspect.signature(OBJECTIVES[name]).parameters:  # else an untrained network is too unsure
        options = {"threshold": 0.0, **options}
    objective = OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, **options).to(dtype)
    if hasattr(objective, "teacher_logits"):
        objective.teacher_logits = batch.target_logits.detach()
    if hasattr(objective, "pseudo_labels"):
        objective.pseudo_labels = torch.arange(targets) % CLASSES
        batch = replace(batch, row_numbers=torch.arange(targets))
    return objective, batch


def _looks_twice(name):
    objective, batch = objective_and_batch(name, second_look=False)
    try:
        objective.terms(batch)
    except ModelError:
        return True
    return False


SECOND_LOOK = [name for name in OBJECTIVES if _looks_twice(name)]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_terms_are_finite_scalars_that_move_the_features(name, dtype):
    objective, batch = objective_and_batch(name, dtype=dtype)
    terms = objective.terms(batch)
    assert all(term_name.endswith("_loss") for term_name in terms)
    assert all(term.dim() == 0 and torch.isfinite(term) for term in terms.values())
    if not terms:
        assert not OBJECTIVES[name].needs_target
        return
    sum(terms.values()).backward()
    assert batch.target_features.grad is not None or name in SECOND_LOOK
    for parameter in objective.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0
    values = objective.diagnostics(batch)
    assert all(value.dim() == 0 and value >= 0 and not value.requires_grad for value in values.values())
    assert all(value <= 1 for value_name, value in values.items() if not value_name.endswith("norm"))
    assert set(values) >= {"source_entropy", "target_entropy", "target_diversity", "feature_spread"}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("sources", "targets"), [(2, 7), (7, 2), (1, 1)])
def test_domains_may_have_different_numbers_of_rows(name, sources, targets):
    objective, batch = objective_and_batch(name, sources=sources, targets=targets)
    assert all(torch.isfinite(term) for term in objective.terms(batch).values())


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in SECOND_LOOK])
def test_the_order_of_rows_does_not_count(name):
    objective, batch = objective_and_batch(name)
    expected = objective.terms(batch)
    rows, others = torch.randperm(5), torch.randperm(4)
    shuffled = copy.copy(batch)
    for field, order in (
        *([("row_numbers", others)] if batch.row_numbers is not None else []),
        ("source_features", rows),
        ("source_logits", rows),
        ("labels", rows),
        ("target_features", others),
        ("target_logits", others),
    ):
        object.__setattr__(shuffled, field, getattr(batch, field)[order])
    for term, value in objective.terms(shuffled).items():
        assert value.item() == pytest.approx(expected[term].item(), abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_saved_objective_gives_the_same_terms(name):
    objective, batch = objective_and_batch(name, **({"random_width": 4} if name == "cdan" else {}))
    buffer = io.BytesIO()
    torch.save(objective.state_dict(), buffer)
    buffer.seek(0)
    other, _ = objective_and_batch(name, **({"random_width": 4} if name == "cdan" else {}))
    for tensor in other.state_dict().values():
        tensor.normal_()
    other.load_state_dict(torch.load(buffer))
    results = []
    for one in (objective, other):
        torch.manual_seed(3)
        results.append({term: value.item() for term, value in one.terms(batch).items()})
    assert results[0] == results[1]


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if kind.needs_target])
def test_weight_scales_its_term_and_a_negative_one_is_refused(name):
    values = []
    for weight in (1.0, 3.0):
        objective, batch = objective_and_batch(name, weight=weight)
        torch.manual_seed(3)
        values.append(objective.terms(batch))
    scaled = {term for term in values[0] if values[1][term].item() == pytest.approx(3 * values[0][term].item())}
    assert len(scaled) == 1
    with pytest.raises(SettingsError, match=rf"{name}: weight=-1 is out of range; give a number of 0 or more"):
        objective_and_batch(name, weight=-1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_unknown_options_are_refused(name):
    with pytest.raises(TypeError):
        OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, wieght=1.0)


@pytest.mark.parametrize("name", SECOND_LOOK)
def test_methods_that_look_twice_say_so(name):
    objective, batch = objective_and_batch(name, second_look=False)
    with pytest.raises(ModelError, match=rf"{name} looks at rows twice, and this step offers no second look"):
        objective.terms(batch)


@pytest.mark.parametrize("name", ["dann", "cdan", "mmd", "jan", "coral", "mcc", "entropy"])
def test_target_terms_never_need_the_label_heads_own_parameters_to_be_read_twice(name):
    """One call of the backbone and of the head serves these methods: they work without ``classify``."""
    objective, batch = objective_and_batch(name)
    silent = copy.copy(batch)
    object.__setattr__(silent, "classify", None)
    object.__setattr__(silent, "extract", None)
    for term, value in objective.terms(silent).items():
        assert value.item() == objective.terms(batch)[term].item()


def test_every_error_is_the_kits():
    for name, options in {
        "dann": {"hidden": [0]},
        "cdan": {"random_width": 0},
        "mmd": {"factors": []},
        "jan": {"class_bandwidth": 0},
        "coral": {"on": "pixels"},
        "mcc": {"temperature": 0},
        "clusters": {"confusion": -1},
        "entropy": {"diversity": float("nan")},
        "vada": {"radius": 0},
        "adamatch": {"threshold": 1.5},
        "self_training": {"threshold": -0.1},
    }.items():
        with pytest.raises(TransferKitError, match=f"{name}: {next(iter(options))}="):
            OBJECTIVES[name](width=WIDTH, num_labels=CLASSES, **options)
