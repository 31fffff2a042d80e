"""What methods for several sources reached on domains that they never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

from hf_transfer_kit.values.results import Verdict


@dataclass(frozen=True)
class GeneralisationResult:
    """What one method reached when each source in turn was left out of training.

    Args:
        method: As typed, such as ``"coral:weight=0.1"``.
        summary: One line for people.
        seeds: One entry a run of each source left out.
        left_out: Source -> accuracy on its validation rows of the networks that were trained on the others, one entry a
            seed, in [0, 1].
        in_domain: Source left out -> mean accuracy of the same networks on validation rows of the sources that they
            were trained on, one entry a seed.
        seconds: Mean wall time of a run, its evaluations included.
        steps: That each run did.
        ended: Why each run ended: ``"steps"``, ``"flat"`` or ``"minutes"``.
        verdict: Whether it helped against ``joint`` on test rows of the sources left out; None where that did not run
            or is the same.
    """

    method: str
    summary: str
    seeds: tuple[int, ...]
    left_out: Mapping[str, tuple[float, ...]]
    in_domain: Mapping[str, tuple[float, ...]]
    seconds: float = 0.0
    verdict: Verdict | None = None
    steps: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def by_domain(self) -> dict[str, float]:
        """Source -> mean over the seeds of the accuracy when it was left out."""
        return {name: fmean(values) for name, values in self.left_out.items()}

    @property
    def mean(self) -> float:
        """Mean over the sources left out: what the method is chosen by."""
        return fmean(self.by_domain.values())

    @property
    def worst(self) -> str:
        """The source that fared worst when it was left out."""
        return min(self.by_domain, key=self.by_domain.__getitem__)

    @property
    def best(self) -> str:
        """The one that fared best."""
        return max(self.by_domain, key=self.by_domain.__getitem__)

    @property
    def known(self) -> float:
        """Mean accuracy on the sources that the same networks were trained on."""
        return fmean(map(fmean, self.in_domain.values()))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds of the mean over the sources left out; 0.0 for one seed."""
        means = [fmean(each) for each in zip(*self.left_out.values(), strict=True)]
        return stdev(means) if len(means) > 1 else 0.0


@dataclass(frozen=True)
class Generalisation:
    """Methods for several sources, chosen by leaving one out, and the network that was then trained on all.

    Args:
        sources: Names, in order.
        results: One entry a method.
        chosen: Method whose mean over the sources left out is the largest.
        known: Source -> accuracy on its test rows of the chosen method's networks, trained on all sources, one entry a
            seed.
        unseen_name: A domain that nothing was learned or chosen on, for people; empty without one.
        unseen: Accuracy on its test rows, one entry a seed; empty without one.
        unseen_interval: Ends of the 95 % interval of that accuracy over rows and seeds.
        selected_by: ``"accuracy"``: each run kept the weights best on validation rows of what it was trained on;
            ``"last"``.
        alike: Methods that were one and the same while one source was left out, because a single one was left; empty
            where there were more.
        log: Scalars that the first seed's final run logged.
    """

    sources: tuple[str, ...]
    results: tuple[GeneralisationResult, ...]
    chosen: str
    known: Mapping[str, tuple[float, ...]]
    unseen_name: str = ""
    unseen: tuple[float, ...] = ()
    unseen_interval: tuple[float, float] | None = None
    selected_by: str = "accuracy"
    alike: tuple[str, ...] = ()
    log: tuple[Mapping[str, float], ...] = field(default=())

    def result(self, method: str) -> GeneralisationResult:
        """The result of one method."""
        return next(result for result in self.results if result.method == method)
