"""w0 stays the pretrained weight: through resumes, other models, other sources."""

import pytest
import torch
from safetensors.torch import save_file
from small_net import Net, rows
from tiny import TRANSFORMERS, sequential
from torch import nn
from transformers import Trainer, TrainerState

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.tuning.conservative.anchor import AnchorKeeper, fingerprint_of, load_anchor, take_anchor
from hf_transfer_kit.tuning.conservative.l2sp import L2SP


@pytest.fixture
def make_trainer(training_arguments, tmp_path):
    def make(model, *callbacks, **settings):
        given = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps", "per_device_train_batch_size": 4}
        args = training_arguments(**{**given, **settings})
        return Trainer(model, args, train_dataset=rows(), callbacks=list(callbacks))

    return make


def test_it_copies_the_body_without_the_head_and_frozen_weights():
    model = Net()
    model.body[0].bias.requires_grad_(False)
    anchor = take_anchor(model)
    assert sorted(anchor.weights) == ["body.0.weight", "body.2.bias", "body.2.weight"]
    with torch.no_grad():
        model.body[0].weight.add_(1)
    assert torch.equal(anchor.weights["body.0.weight"] + 1, model.body[0].weight)


def test_floating_buffers_of_the_body_go_along():
    model, inputs = sequential()
    model.dummy_inputs = inputs
    assert sorted(take_anchor(model).buffers) == ["1.running_mean", "1.running_var"]


def test_two_callbacks_on_one_model_share_a_copy():
    model = Net()
    first, second = AnchorKeeper("A"), AnchorKeeper("B")
    assert first.at_init(model) is second.at_init(model)


def test_the_fingerprint_tells_any_changed_element_names_and_precisions():
    weight = torch.randn(100, 7)
    before = fingerprint_of({"a": weight})
    assert fingerprint_of({"a": weight.clone()}) == before
    changed = weight.clone()
    changed[31, 3] += 1e-6
    assert len({before, *(fingerprint_of(t) for t in ({"a": changed}, {"b": weight}, {"a": weight.double()}))}) == 4


def test_a_model_built_from_the_checkpoint_is_refused_at_resume(make_trainer, tmp_path):
    model = Net()
    make_trainer(model, L2SP()).train()
    with pytest.raises(SettingsError, match="would hold on to are not those of the checkpoint"):
        make_trainer(model, L2SP()).train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_an_explicit_anchor_survives_where_the_model_is_built_from_the_checkpoint(make_trainer, tmp_path):
    model = Net()
    source = {name: value.clone() for name, value in model.state_dict().items()}
    first = make_trainer(model, L2SP(anchor=source))
    first.train()
    second = make_trainer(model, L2SP(anchor=source))
    second.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    values = [trainer.state.log_history[-2]["l2sp_penalty"] for trainer in (first, second)]
    assert values[0] == values[1]


@pytest.mark.parametrize("restore", [False, True])
def test_a_callback_added_after_the_trainer_was_made_cannot_resume(make_trainer, tmp_path, restore):
    trainer = make_trainer(Net(), restore_callback_states_from_checkpoint=restore)
    trainer.add_callback(L2SP())
    trainer.train()  # without a resume the model is still the pretrained one
    again = make_trainer(Net(), restore_callback_states_from_checkpoint=restore)
    again.add_callback(L2SP())
    with pytest.raises(SettingsError, match="was not there when the Trainer was made"):
        again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_a_checkpoint_without_the_callback_can_be_resumed_with_it(make_trainer, tmp_path):
    make_trainer(Net()).train()
    trainer = make_trainer(Net(), L2SP())
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert "l2sp_penalty" in trainer.state.log_history[-2]


def test_a_model_made_later_has_its_own_w0(training_arguments):
    keeper = AnchorKeeper("L2SP")
    keeper.at_init(Net())
    other = Net()
    with torch.no_grad():
        other.body[0].weight.zero_()
    anchor = keeper.at_train_begin(other, TrainerState())
    assert not anchor.weights["body.0.weight"].any()


@pytest.mark.parametrize("step", [0, 7])
def test_weights_frozen_when_the_trainer_was_made_join_unless_they_have_moved(step):
    model = Net()
    model.body[0].requires_grad_(False)
    keeper = AnchorKeeper("L2SP")
    keeper.at_init(model)
    state = TrainerState(global_step=step)
    anchor = keeper.at_train_begin(model, state, learning=["body.0.weight"])
    assert torch.equal(anchor.weights["body.0.weight"], model.body[0].weight)
    anchor.weights.pop("body.0.weight")
    model.body[0].weight.data.add_(1e-3)  # a checkpoint's, trained since
    if step:
        with pytest.raises(SettingsError, match=r"body\.0\.weight was frozen when the Trainer was made and has been"):
            keeper.at_train_begin(model, state, learning=["body.0.weight"])


def test_an_anchor_from_a_file_or_a_folder_leaves_out_what_does_not_fit(tmp_path):
    model, _ = TRANSFORMERS["bert"]()
    model.save_pretrained(tmp_path / "model")
    tensors = dict(model.state_dict())
    tensors["bert.embeddings.word_embeddings.weight"] = torch.zeros(50, 8)
    save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "w0.safetensors")
    whole = load_anchor(tmp_path / "model", model)
    part = load_anchor(str(tmp_path / "w0.safetensors"), model)
    assert set(whole.weights) == {name for name, _ in model.named_parameters() if not name.startswith("classifier")}
    assert set(whole.weights) - set(part.weights) == {"bert.embeddings.word_embeddings.weight"}
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in whole.weights.items())


def test_what_is_absent_from_the_anchor_is_treated_as_the_head():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    l2sp = L2SP(1.0, 1.0, anchor={"body.0.weight": model.body[0].weight.detach().clone()})
    l2sp.attach(model, optimizer)
    rest = sum(p.square().sum() for n, p in model.named_parameters() if n != "body.0.weight") / 2
    assert float(l2sp.scalars(model)["l2sp_penalty"]) == pytest.approx(rest.item(), rel=1e-6)


def test_an_anchor_that_fits_nothing_is_refused():
    with pytest.raises(SettingsError, match="fits no parameter of Net"):
        load_anchor(nn.Linear(2, 2).state_dict(), Net())


def test_a_peft_models_base_weights_are_told_and_not_copied():
    peft = pytest.importorskip("peft")
    model, _ = TRANSFORMERS["bert"]()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    anchor = take_anchor(wrapped)
    assert not anchor.weights
    with torch.no_grad():
        next(p for n, p in wrapped.named_parameters() if "lora_B" in n).fill_(1.0)
    assert take_anchor(wrapped).fingerprint == anchor.fingerprint
    with torch.no_grad():
        next(p for n, p in wrapped.named_parameters() if "base_layer.weight" in n).add_(1.0)
    assert take_anchor(wrapped).fingerprint != anchor.fingerprint
