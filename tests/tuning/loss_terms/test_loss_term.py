"""A term enters the loss, the gradient and the logs exactly, for both ways Trainer scales losses."""

import copy
import json
from pathlib import Path

import pytest
import torch
from term_cases import Counting, CountingItems, InOrder, assert_close_state, case, state_of
from torch import nn
from trainer_names import vit_layers
from transformers import PreTrainedConfig, TrainerCallback

from hf_transfer_kit.backbones.feature_maps import FeatureMaps
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.loss_terms.grafting import Graft
from hf_transfer_kit.tuning.loss_terms.loss_term import LossTerm, batch_share, loss_of


class Norm(LossTerm):
    """Half the mean squared feature."""

    scalar_name = "norm"

    def watch(self, model):
        return FeatureMaps(inputs={"feature": model.head})

    def term(self, model, maps, inputs):
        return maps["feature"].square().sum(dim=1).mean() / 2


def rows(count=18, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (18,), generator=generator)
    labels[4] = -100  # not every row counts
    return [{"x": torch.randn(4, generator=generator, dtype=dtype), "labels": labels[i]} for i in range(count)]


def make(kind=Counting):
    torch.manual_seed(0)
    return kind().double()


@pytest.fixture
def train(training_arguments):
    def run(model, *callbacks, data=None, **settings):
        given = {
            "per_device_train_batch_size": 6,
            "max_steps": 3,
            "learning_rate": 0.1,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
        }
        args = training_arguments(**{**given, **settings})
        trainer = InOrder(model, args, train_dataset=data or rows(), eval_dataset=rows(4), callbacks=list(callbacks))
        trainer.train()
        return trainer

    return run


def by_hand(model, data, *, steps=3, batch=6, rate=0.1):
    """The same training written out: CE over counted rows + mean of half the squared features."""
    model = copy.deepcopy(model)
    for step in range(steps):
        x = torch.stack([row["x"] for row in data[step * batch : (step + 1) * batch]])
        labels = torch.stack([row["labels"] for row in data[step * batch : (step + 1) * batch]])
        feature = torch.tanh(model.body(x))
        loss = nn.functional.cross_entropy(model.head(feature), labels)
        loss = loss + feature.square().sum(dim=1).mean() / 2
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    return state_of(model)


@pytest.mark.parametrize("kind", [Counting, CountingItems])
def test_training_equals_the_loss_written_out(train, kind):
    data = [row for row in rows() if row["labels"] >= 0][:12]
    model = make(kind)
    expected = by_hand(model, data, steps=2)
    train(model, Norm(), data=data, max_steps=2)
    assert_close_state(state_of(model), expected, 1e-12)


def test_accumulation_equals_one_big_batch_where_items_are_counted(train):
    states = []
    # Row 4 has no label, so the micro-batches carry different numbers of items.
    data = [dict(row) for row in rows()]
    for index in range(0, 18, 6):
        data[index + 4] = {**data[index + 4], "labels": torch.tensor(1)}
    for size, accumulation in ((6, 1), (2, 3)):
        model = make(CountingItems)
        train(model, Norm(), data=data, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        states.append(state_of(model))
    assert_close_state(*states, 1e-12)
    assert_close_state(states[0], by_hand(make(CountingItems), data), 1e-12)


def test_accumulation_equals_one_big_batch_for_means(train):
    data = [{**row, "labels": torch.tensor(1)} for row in rows()]
    states = []
    for size, accumulation in ((6, 1), (2, 3)):
        model = make(Counting)
        train(model, Norm(), data=data, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        states.append(state_of(model))
    assert_close_state(*states, 1e-12)


def test_a_micro_batch_weighs_as_much_as_its_label_items(train):
    model = make(CountingItems)
    data = rows(6)  # row 4 is not counted: micro-batches of 2, 2 and 1 items
    twin = copy.deepcopy(model)
    train(model, Norm(), data=data, per_device_train_batch_size=2, gradient_accumulation_steps=3, max_steps=1)
    x = torch.stack([row["x"] for row in data])
    feature = torch.tanh(twin.body(x))
    labels = torch.stack([row["labels"] for row in data])
    term = sum(
        share * feature[start : start + 2].square().sum(dim=1).mean() / 2
        for start, share in ((0, 2 / 5), (2, 2 / 5), (4, 1 / 5))
    )
    loss = nn.functional.cross_entropy(twin.head(feature), labels) + term
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
            parameter -= 0.1 * gradient
    assert_close_state(state_of(model), state_of(twin), 1e-12)


def test_the_logged_loss_contains_the_term_and_its_mean_is_logged(train):
    model = make(CountingItems)
    data = rows(6)
    feature = torch.tanh(model.body(torch.stack([row["x"] for row in data])))
    labels = torch.stack([row["labels"] for row in data])
    cross_entropy = nn.functional.cross_entropy(model.head(feature), labels).item()
    norm = (feature.square().sum(dim=1).mean() / 2).item()
    log = train(model, Norm(), data=data, max_steps=1).state.log_history[0]
    assert log["norm"] == pytest.approx(norm, abs=1e-6)
    assert log["loss"] == pytest.approx(cross_entropy + norm, abs=1e-6)


def test_evaluation_has_no_term_and_no_hook_stays(train):
    model = make()
    twin = copy.deepcopy(model)
    trainer = train(model, Norm(), learning_rate=0.0, eval_strategy="steps", eval_steps=1)
    batch = {name: torch.stack([row[name] for row in rows(4)]) for name in ("x", "labels")}
    expected = twin(**batch)["loss"].item()
    for entry in trainer.state.log_history:
        if "eval_loss" in entry:
            assert entry["eval_loss"] == pytest.approx(expected, abs=1e-6)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not model.head._forward_pre_hooks


def test_a_second_run_does_not_double_the_term(train):
    class Breaking(TrainerCallback):
        broken = False

        def on_step_end(self, args, state, control, **kwargs):
            if not self.broken:
                self.broken = True
                raise KeyboardInterrupt

    model = make(CountingItems)
    norm, breaking = Norm(), Breaking()
    data = rows(6)
    with pytest.raises(KeyboardInterrupt):
        train(model, norm, breaking, data=data, learning_rate=0.0)
    log = train(model, norm, data=data, learning_rate=0.0, max_steps=1).state.log_history[0]
    feature = torch.tanh(model.body(torch.stack([row["x"] for row in data])))
    assert log["norm"] == pytest.approx((feature.square().sum(dim=1).mean() / 2).item(), abs=1e-6)
    assert len(log) == len(train(make(), data=data, max_steps=1).state.log_history[0]) + 1
    assert not model._forward_hooks


def test_two_terms_add_up(train):
    class Again(Norm):
        scalar_name = "again"

    class Twice(Norm):
        def term(self, model, maps, inputs):
            return 2 * super().term(model, maps, inputs)

    states = []
    for callbacks in ((Norm(), Again()), (Twice(),)):
        model = make()
        train(model, *callbacks)
        states.append(state_of(model))
    assert_close_state(*states, 1e-12)


def test_tuples_and_mappings_take_the_loss():
    loss, other = torch.tensor(1.0), torch.ones(2)
    assert loss_of((loss, other)) is loss
    assert loss_of((other, other)) is None
    assert loss_of({"loss": None}) is None


def test_shares_follow_trainers_counting():
    labels = torch.tensor([[1, 2, -100], [1, -100, -100]])
    inputs = {"labels": labels, "num_items_in_batch": torch.tensor(6)}
    assert batch_share(inputs, labels_shift=False) == (3, 6)
    assert batch_share(inputs, labels_shift=True) == (1, 6)
    assert batch_share({"labels": labels}, labels_shift=False) == (1.0, 1.0)


def weighted(logits, labels):
    return nn.functional.cross_entropy(logits, labels, weight=torch.tensor([1.0, 2.0, 3.0], dtype=logits.dtype))


class LabelsIn(InOrder):
    """Its own loss, the labels left in."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = weighted(outputs["logits"], inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class LabelsOut(InOrder):
    """Its own loss, the labels taken out."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = weighted(outputs["logits"], labels)
        return (loss, outputs) if return_outputs else loss


class ByParts(InOrder):
    """Half the model's own loss beside half of another."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = outputs["loss"] / 2 + weighted(outputs["logits"], inputs["labels"]) / 2
        return (loss, outputs) if return_outputs else loss


class Detached(InOrder):
    """A loss of something that the model was not asked for."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with torch.no_grad():
            model(**inputs)
        return sum(parameter.square().sum() for parameter in model.parameters())


class Discarded(InOrder):
    """The model's outputs are made and not used."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        model(**inputs)
        return sum(parameter.square().sum() for parameter in model.parameters())


def _smoothed(logits, labels):
    return nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)


HOSTS = {
    "labels in": (LabelsIn, {}, weighted, 1.0),
    "labels out": (LabelsOut, {}, weighted, 1.0),
    "by parts": (ByParts, {}, lambda x, y: (weighted(x, y) + nn.functional.cross_entropy(x, y)) / 2, 0.5),
    "compute_loss_func": (InOrder, {"compute_loss_func": lambda o, y, **_: weighted(o["logits"], y)}, weighted, 1.0),
    "label smoothing": (InOrder, {}, _smoothed, 1.0),
}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("host", HOSTS)
def test_a_loss_of_the_trainers_own_has_the_term_beside_it(host, pieces, training_arguments):
    kind, options, function, weight = HOSTS[host]
    if pieces > 1 and not hasattr(kind, "loss_is_scaled_for_ga"):
        pytest.skip("this Trainer cannot be told that a loss of its own is to be divided by the pieces")
    data = [row for row in rows() if row["labels"] >= 0][:12]
    model = make()
    wanted = copy.deepcopy(model)
    smoothing = {"label_smoothing_factor": 0.1} if host == "label smoothing" else {}
    args = training_arguments(
        max_steps=2, per_device_train_batch_size=6 // pieces, gradient_accumulation_steps=pieces, optim="sgd",
        learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0.0, **smoothing,
    )  # fmt: skip
    model.accepts_loss_kwargs = False
    model.config = PreTrainedConfig()  # which Trainer's label smoother reads
    trainer = kind(model, args, train_dataset=data, callbacks=[Norm()], **options)
    trainer.loss_is_scaled_for_ga = False
    trainer.train()
    for step in range(2):
        gradients = [torch.zeros_like(parameter) for parameter in wanted.parameters()]
        for piece in range(pieces):
            size = 6 // pieces
            part = data[step * 6 + piece * size : step * 6 + (piece + 1) * size]
            labels = torch.stack([row["labels"] for row in part])
            feature = torch.tanh(wanted.body(torch.stack([row["x"] for row in part])))
            loss = function(wanted.head(feature), labels) + weight * feature.square().sum(dim=1).mean() / 2
            for total, gradient in zip(gradients, torch.autograd.grad(loss / pieces, wanted.parameters()), strict=True):
                total += gradient
        with torch.no_grad():
            for parameter, gradient in zip(wanted.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    # Trainer's own label smoother is computed in single precision.
    assert_close_state(state_of(model), state_of(wanted), 1e-6 if smoothing else 1e-12)


@pytest.mark.parametrize(
    ("kind", "words"), [(Detached, "was not called in this"), (Discarded, "is made of none of it")]
)
def test_a_term_that_no_backward_reaches_ends_training_before_the_first_step(kind, words, training_arguments):
    model = make()
    before = state_of(model)
    trainer = kind(model, training_arguments(max_steps=2), train_dataset=rows(), callbacks=[Norm()])
    with pytest.raises(SettingsError, match=words):
        trainer.train()
    assert_close_state(state_of(model), before, 1e-15)


def test_mixed_precision_trains_with_a_term_in_full_precision(train):
    model = make().float()
    log = train(model, Norm(), data=rows(dtype=torch.float32), bf16=True, max_steps=1).state.log_history[0]
    feature = torch.tanh(make().float().body(torch.stack([row["x"] for row in rows(6, dtype=torch.float32)])))
    assert log["norm"] == pytest.approx((feature.square().sum(dim=1).mean() / 2).item(), rel=2e-2)


class Blocks(LossTerm):
    scalar_name = "blocks"

    def __init__(self, inside=False):
        self.inside = inside

    def watch(self, model):
        block, last = (model.vit.get_submodule(f"{vit_layers()}.{i}") for i in (0, 1))
        return FeatureMaps(outputs={"a": [next(block.children()) if self.inside else block], "b": [last]})

    def term(self, model, maps, inputs):
        return maps["a"].square().mean() + maps["b"].square().mean()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(training_arguments, use_reentrant):
    if use_reentrant and vit_layers() != "layers":
        pytest.skip(
            "a ViT of this version shows its layers inside the checkpoint only, which the next test has refused"
        )
    states = []
    for checkpointing in (False, True):
        model, data = case("vit")
        settings = {"activation_checkpointing_kwargs": {"use_reentrant": use_reentrant}} if checkpointing else {}
        args = training_arguments(max_steps=2, activation_checkpointing=checkpointing, learning_rate=0.01, **settings)
        InOrder(model, args, train_dataset=data, callbacks=[Blocks()]).train()
        states.append(state_of(model))
    assert_close_state(*states, 1e-5)


def test_maps_inside_reentrant_checkpoints_are_refused(training_arguments):
    model, data = case("vit")
    args = training_arguments(
        max_steps=2, activation_checkpointing=True, activation_checkpointing_kwargs={"use_reentrant": True}
    )
    with pytest.raises(
        SettingsError, match=r"Blocks: reentrant gradient checkpointing computes '[ab]' without a graph"
    ):
        InOrder(model, args, train_dataset=data, callbacks=[Blocks(inside=True)]).train()


TWO_PROCESSES = """
import json, os, sys, torch
sys.path[:0] = sys.argv[2:4]
from term_cases import CountingItems, Counting, InOrder
from transformers import TrainingArguments
from test_loss_term import Norm, rows, make

states = {}
for kind in (Counting, CountingItems):
    for accumulation in (1, 3):
        data = [{**row, "labels": row["labels"].clamp(min=0)} for row in rows()]
        model = make(kind)
        args = TrainingArguments(
            sys.argv[1], use_cpu=True, ddp_backend="gloo", report_to=[], max_steps=3, logging_steps=3, optim="sgd",
            per_device_train_batch_size=3 // accumulation, gradient_accumulation_steps=accumulation, learning_rate=0.1,
            lr_scheduler_type="constant", max_grad_norm=0.0, save_strategy="no", disable_tqdm=True,
        )
        trainer = InOrder(model, args, train_dataset=data, callbacks=[Norm()])
        trainer.train()
        states[f"{kind.__name__}{accumulation}"] = {n: t.tolist() for n, t in model.state_dict().items()}
        states[f"{kind.__name__}{accumulation}"]["norm"] = trainer.state.log_history[0]["norm"]
with open(f"{sys.argv[1]}/states-{args.process_index}.json", "w") as file:
    json.dump(states, file)
torch.distributed.barrier()
os._exit(0)  # eight DDP wrappers and their group, taken down in any order, abort now and then
"""


def test_two_processes_equal_one(train, two_processes, tmp_path):
    here = Path(__file__).parent
    two_processes(TWO_PROCESSES, tmp_path, here.parents[1], here)
    data = [{**row, "labels": row["labels"].clamp(min=0)} for row in rows()]
    expected = by_hand(make(), data)
    both = [json.loads((tmp_path / f"states-{rank}.json").read_text()) for rank in (0, 1)]
    for states in both:
        for state in states.values():
            norm = state.pop("norm")
            assert norm > 0
            for name, tensor in expected.items():
                assert torch.allclose(torch.tensor(state[name], dtype=torch.float64), tensor, rtol=0, atol=1e-12)


def test_the_term_compiles():
    model = make()
    norm = Norm()
    twin = copy.deepcopy(model)
    norm._maps = norm.watch(model)
    norm._labels_shift = False
    norm._graft = Graft(lambda: 1.0)
    model.register_forward_pre_hook(norm._before_forward)
    model.register_forward_hook(norm._after_forward, with_kwargs=True)
    compiled = torch.compile(model, backend="eager")
    batch = {name: torch.stack([row[name] for row in rows(4)]) for name in ("x", "labels")}
    for _ in range(2):
        loss = compiled(**batch)["loss"]
        expected = twin(**batch)["loss"] + torch.tanh(twin.body(batch["x"])).square().sum(dim=1).mean() / 2
        assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    compiled.train()
    compiled(**batch)["loss"].backward()
    assert norm._graft.take_counts() == (3, 1)
    compiled.eval()
    assert compiled(**batch)["loss"].item() == pytest.approx(twin(**batch)["loss"].item(), abs=1e-12)
