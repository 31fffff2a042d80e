"""Training loops as one writes them by hand in PyTorch, a step a call: what the kit's steps are compared with."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from on_gpu.bench import Bench

STRENGTH = 0.01
_POSITIONS = {"resnet50": (1, 2, 3, 4), "ViT-S": (2, 5, 8, 11)}
_REDUCED = {"resnet50": (1, 2, 3, 4), "ViT-S": (0, 1)}


class Reversal(torch.autograd.Function):
    """As it is found in most scripts."""

    @staticmethod
    def forward(ctx, features, strength):
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None


class DANN(nn.Module):
    """Both domains in one concatenated forward, a domain head of the paper's width behind a reversal."""

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__()
        self.network = bench.network(name).timm_model
        width = self.network.num_features
        self.domain_head = nn.Sequential(
            nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1)
        ).to(bench.device)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """``images`` are those of the source, then as many of the target."""
        count = len(labels)
        features = self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        logits = self.network.get_classifier()(features[:count])
        domains = self.domain_head(Reversal.apply(features, 0.5)).squeeze(1)
        known = torch.cat([torch.ones_like(domains[:count]), torch.zeros_like(domains[count:])])
        loss = functional.cross_entropy(logits, labels)
        return loss + functional.binary_cross_entropy_with_logits(domains, known)


class L2SP(nn.Module):
    """The penalty through autograd."""

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__()
        self.network = bench.network(name).timm_model
        self.start = [parameter.detach().clone() for parameter in self.network.parameters()]

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy and half the strength times the squared distance."""
        pairs = zip(self.network.parameters(), self.start, strict=True)
        distances = torch.stack([(parameter - start).square().sum() for parameter, start in pairs])
        return functional.cross_entropy(self.network(images), labels) + STRENGTH / 2 * distances.sum()


class DELTA(nn.Module):
    """Feature maps of four layers held near those of the network as it was."""

    def __init__(self, bench: Bench, name: str) -> None:
        super().__init__()
        self.network = bench.network(name).timm_model
        self.source = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.positions = list(bench.given(_POSITIONS, _REDUCED)[name])

    def train(self, mode: bool = True) -> DELTA:
        """The source stays in evaluation mode."""
        super().train(mode)
        self.source.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy and the mean squared differences."""
        last, maps = self.network.forward_intermediates(images, indices=self.positions)
        with torch.no_grad():
            kept = self.source.forward_intermediates(images, indices=self.positions, intermediates_only=True)
        loss = functional.cross_entropy(self.network.forward_head(last), labels)
        return loss + sum((a.float() - b.float()).square().mean() for a, b in zip(maps, kept, strict=True))


LOOPS: dict[str, type[nn.Module]] = {"DANN": DANN, "L2SP": L2SP, "DELTA": DELTA}


class Loop:
    """Draws rows, learns from them: a step a call, in bfloat16 with fused AdamW.

    Args:
        bench: Where.
        method: Key of ``LOOPS``.
        name: Of the network.
        images: On the device; with DANN half of a batch are taken from the second half of them.
        labels: Of the images.
        batch: Images a step.
        backend: Of ``torch.compile``; None compiles nothing.
    """

    def __init__(
        self, bench: Bench, method: str, name: str, images: Tensor, labels: Tensor, *, batch: int, backend: str | None
    ) -> None:
        self.bench, self.images, self.labels, self.batch = bench, images, labels, batch
        self.two_domains = method == "DANN"
        self.module = LOOPS[method](bench, name).train()
        learned = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=True)
        self.loss = torch.compile(self.module, backend=backend) if backend else self.module

    def step(self) -> None:
        """One step."""
        images, labels = self._drawn()
        with self.bench.autocast():
            loss = self.loss(images, labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _drawn(self) -> tuple[Tensor, Tensor]:
        device, half = self.images.device, len(self.images) // 2
        if not self.two_domains:
            rows = torch.randint(len(self.images), (self.batch,), device=device)
            return self.images[rows], self.labels[rows]
        rows, others = torch.randint(half, (2, self.batch // 2), device=device)
        return torch.cat([self.images[rows], self.images[half + others]]), self.labels[rows]
