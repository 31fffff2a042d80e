"""L2-SP equals the penalty in the loss, its decoupled form its closed form, in every kind of training."""


import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from hf_transfer_kit.tuning.l2sp import L2SP

ALPHA, BETA = 0.3, 0.2


class Net(nn.Module):
    """A body of two groups and a head, its loss a mean; `penalised` puts the penalty into the loss itself."""

    accepts_loss_kwargs = False

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)
        self.to(dtype)
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        self.penalised = None
        self.dummy_inputs = {"x": torch.zeros(1, 4), "labels": torch.zeros(1, dtype=torch.long)}

    def forward(self, x, labels=None):
        logits = self.head(self.body(x.to(self.head.weight.dtype)))
        loss = nn.functional.cross_entropy(logits, labels)
        if self.penalised is not None and self.training:
            loss = loss + self.penalised(self)
        return {"loss": loss, "logits": logits}


def autograd_penalty(w0, alpha=ALPHA, beta=BETA):
    def penalty(model):
        held = sum((p - w0[n]).square().sum() for n, p in model.named_parameters() if n.startswith("body"))
        return alpha / 2 * held + beta / 2 * sum(p.square().sum() for p in model.head.parameters())

    return penalty


def rows(count=48):
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(4, generator=generator), "labels": torch.tensor(i % 3)} for i in range(count)]


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def difference(first, second):
    return max((first[name] - second[name]).abs().max().item() for name in first)


class PenaltyAfterClipping(TrainerCallback):
    """The slow reading of clipped=False: autograd's gradient of the penalty, added after Trainer has clipped."""

    def __init__(self, penalty):
        self.penalty = penalty

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        parameters = list(model.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(self.penalty(model), parameters), strict=True):
            parameter.grad += gradient


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


@pytest.fixture
def fit(training_arguments):
    def make(model, *callbacks, optimizer="sgd", accumulation=1, clip=0.0, steps=6, resume=None, **settings):
        given = {"max_steps": steps, "gradient_accumulation_steps": accumulation, "max_grad_norm": clip}
        args = training_arguments(**{"per_device_train_batch_size": 4, **given, **settings})
        trainer = Trainer(
            model,
            args,
            train_dataset=rows(),
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return make


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clipping", ["off", "before", "after"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_it_equals_the_penalty_in_the_loss(fit, accumulation, clipping, optimizer):
    clip = 0.0 if clipping == "off" else 0.1
    ours, theirs = Net(), Net()
    penalty = autograd_penalty(weights(theirs))
    trainer = fit(
        ours, L2SP(ALPHA, BETA, clipped=clipping == "before"), optimizer=optimizer, accumulation=accumulation, clip=clip
    )
    if clipping == "after":
        reference = fit(
            theirs, PenaltyAfterClipping(penalty), optimizer=optimizer, accumulation=accumulation, clip=clip
        )
    else:
        theirs.penalised = penalty
        reference = fit(theirs, optimizer=optimizer, accumulation=accumulation, clip=clip)
    assert difference(weights(ours), weights(theirs)) < 1e-12
    assert difference(weights(ours), weights(Net())) > 1e-2
    assert trainer.args.max_grad_norm == clip
    if clipping != "off":
        norms = [[log["grad_norm"] for log in t.state.log_history if "loss" in log] for t in (trainer, reference)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-12)
        assert min(norms[0]) > clip
