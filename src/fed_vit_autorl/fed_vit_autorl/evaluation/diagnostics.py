"""`Diagnostics`: what is wrong with a federation or with a perception model, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .federation import RoundRecord, federation_figures


class Issue(StrEnum):
    """What can be wrong."""

    LOW_PARTICIPATION = "low_participation"
    FALLING_PARTICIPATION = "falling_participation"
    NOT_CONVERGED = "not_converged"
    DIVERGING = "diverging"
    BUDGET_NEARLY_SPENT = "budget_nearly_spent"
    DETECTION_DROP = "detection_drop"
    SEGMENTATION_DROP = "segmentation_drop"
    DOMAIN_GAP = "domain_gap"
    MISCALIBRATED = "miscalibrated"


SUGGESTIONS = {
    Issue.LOW_PARTICIPATION: "raise federation.deadline_s, or select fewer vehicles than are online",
    Issue.FALLING_PARTICIPATION: "look at the refusals and at the vehicles that fell silent on the fleet's page",
    Issue.NOT_CONVERGED: "go on: more rounds, or a server optimiser such as fedadam",
    Issue.DIVERGING: "lower client_lr or server_lr, or use fedprox; roll back to the best release",
    Issue.BUDGET_NEARLY_SPENT: "raise the noise or select a smaller share of the fleet, or end the run",
    Issue.DETECTION_DROP: "compare the release with its parent on these scenes; roll back if vehicles see it too",
    Issue.SEGMENTATION_DROP: "check the vehicles' own labels of these scenes; roll back if they see it too",
    Issue.DOMAIN_GAP: "select vehicles that live in these scenes more often, or collect there",
    Issue.MISCALIBRATED: "fit the score threshold of these scenes anew, or calibrate the scores",
}


@dataclass(frozen=True)
class Finding:
    """One issue, the scenarios or rounds it shows in, and what to do."""

    issue: Issue
    affected: tuple[str, ...]
    suggestion: str

    @classmethod
    def of(cls, issue: Issue, affected: Sequence[str]) -> Finding:
        return cls(issue, tuple(affected), SUGGESTIONS[issue])


@dataclass(frozen=True)
class FederationHealth:
    """`participation` in [0, 1], whether the metric has `converged`, and what was found; healthy with no findings."""

    participation: float
    converged: bool
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return not self.findings


class Diagnostics:
    """Thresholds: least `participation`, relative `drop` of a figure, relative `gap` between domains, largest `ece`."""

    def __init__(self, participation: float = 0.5, drop: float = 0.1, gap: float = 0.3, ece: float = 0.15) -> None:
        self._participation, self._drop, self._gap, self._ece = participation, drop, gap, ece

    def check_federation_health(self, rounds: Sequence[RoundRecord], budget: float | None = None) -> FederationHealth:
        """Participation and convergence over finished rounds, oldest first; `budget` is the privacy budget ε. Raises
        ValueError without rounds.
        """
        figures = federation_figures(rounds)
        shares = [record.accepted / record.invited for record in rounds if record.invited]
        metrics = [record.metric for record in rounds if record.metric is not None]
        weak = [str(number) for number, share in enumerate(shares, start=1) if share < self._participation]
        findings = []
        if figures["participation"] < self._participation:
            findings.append(Finding.of(Issue.LOW_PARTICIPATION, weak))
        elif len(shares) >= 4 and np.mean(shares[-2:]) < (1 - self._gap) * np.mean(shares[:-2]):
            findings.append(Finding.of(Issue.FALLING_PARTICIPATION, [str(len(shares) - 1), str(len(shares))]))
        if metrics and metrics[-1] < (1 - self._drop) * max(metrics):
            best = int(np.argmax(metrics)) + 1
            findings.append(Finding.of(Issue.DIVERGING, [str(n) for n in range(best + 1, len(metrics) + 1)]))
        elif len(metrics) >= 2 and not figures["converged"]:
            findings.append(Finding.of(Issue.NOT_CONVERGED, [str(len(metrics))]))
        if budget is not None and (figures["epsilon_spent"] or 0.0) > 0.9 * budget:
            findings.append(Finding.of(Issue.BUDGET_NEARLY_SPENT, [str(len(rounds))]))
        return FederationHealth(figures["participation"], figures["converged"], tuple(findings))

    def debug_perception(
        self, by_domain: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]] | None = None
    ) -> tuple[Finding, ...]:
        """Issues in the figures of each domain (`PerceptionEvaluator`'s `by_domain`), compared with `before`."""
        found: dict[Issue, list[str]] = {}
        for figure, issue in (("map50", Issue.DETECTION_DROP), ("free_space_iou", Issue.SEGMENTATION_DROP)):
            for domain, figures in by_domain.items():
                was = (before or {}).get(domain, {}).get(figure)
                if was is not None and figures.get(figure, 0.0) < (1 - self._drop) * was:
                    found.setdefault(issue, []).append(domain)
            values = {domain: figures[figure] for domain, figures in by_domain.items() if figure in figures}
            behind = [domain for domain, value in values.items() if value < (1 - self._gap) * max(values.values())]
            known = found.setdefault(Issue.DOMAIN_GAP, [])
            known += [domain for domain in behind if domain not in known]
        wrong = [domain for domain, figures in by_domain.items() if figures.get("detection_ece", 0.0) > self._ece]
        found[Issue.MISCALIBRATED] = wrong
        return tuple(Finding.of(issue, domains) for issue, domains in found.items() if domains)
