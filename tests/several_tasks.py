"""Three tasks on one small trunk, some rows labelled for several, whose gradients conflict; float64."""

import torch
from torch import nn
from torch.nn import functional

TASKS = ["kind", "size", "colour"]
ROWS = {"kind": slice(0, 6), "size": slice(2, 8), "colour": slice(0, 8)}
N, WIDTH = 8, 4


class Toy(nn.Module):
    """A trunk of two layers and a linear head a task."""

    def __init__(self, dtype=torch.float64, *, seed=4):
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, WIDTH)).to(dtype)
        self.heads = nn.ModuleDict(
            {"kind": nn.Linear(WIDTH, 3), "size": nn.Linear(WIDTH, 1), "colour": nn.Linear(WIDTH, 1)}
        )
        self.heads.to(dtype)
        self.register_buffer("inputs", torch.randn(N, 5, dtype=dtype), persistent=False)
        self.register_buffer("kind", torch.randint(3, (N,)), persistent=False)
        self.register_buffer("size", torch.randn(N, dtype=dtype), persistent=False)

    def losses(self, rows=slice(None), tasks=TASKS):
        """Losses, task -> mean over its rows among ``rows``, and the shared representation."""
        chosen = torch.arange(N)[rows]
        shared = self.trunk(self.inputs[chosen])
        losses = {}
        for task in tasks:
            own = torch.isin(chosen, torch.arange(N)[ROWS[task]])
            out, labelled = self.heads[task](shared[own]), chosen[own]
            if task == "kind":
                losses[task] = functional.cross_entropy(out, self.kind[labelled])
            else:
                # What one calls large the other calls small, in another unit.
                wanted = self.size[labelled] if task == "size" else -3 * self.size[labelled]
                losses[task] = (out.squeeze(1) - wanted).square().mean()
        return losses, shared

    def trunk_gradient(self):
        """What ``backward`` left in the trunk, as one vector."""
        return torch.cat([parameter.grad.flatten() for parameter in self.trunk.parameters()])

    def head_gradient(self, task):
        """Likewise in a head."""
        return torch.cat([parameter.grad.flatten() for parameter in self.heads[task].parameters()])


def flat(gradients):
    """One vector of several tensors."""
    return torch.cat([gradient.flatten() for gradient in gradients])


def shared_jacobian(toy, **options):
    """Rows: each task's gradient at the shared representation, (T, N * D)."""
    losses, shared = toy.losses(**options)
    return torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].flatten() for loss in losses.values()])


def trunk_jacobian(toy, **options):
    """Rows: each task's gradient at the trunk's parameters, one backward of the trunk a task."""
    losses, _ = toy.losses(**options)
    return torch.stack(
        [flat(torch.autograd.grad(loss, list(toy.trunk.parameters()), retain_graph=True)) for loss in losses.values()]
    )
