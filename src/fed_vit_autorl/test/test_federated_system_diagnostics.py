"""What `Diagnostics` finds, in figures made up so that the answer is plain."""

from fed_vit_autorl.evaluation.diagnostics import Diagnostics, Issue
from fed_vit_autorl.evaluation.federation import RoundRecord


def rounds(metrics, accepted=10, epsilon=None):
    return [RoundRecord(10, accepted, 100, 100, 60.0, metric, epsilon) for metric in metrics]


def issues(findings):
    return {finding.issue: finding.affected for finding in findings}


def test_a_federation_that_converged_with_everybody_is_healthy():
    health = Diagnostics().check_federation_health(rounds([0.1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]))
    assert (health.participation, health.converged, health.healthy) == (1.0, True, True)


def test_low_participation_names_the_rounds_and_what_to_do():
    health = Diagnostics().check_federation_health(rounds([0.5] * 6, accepted=4))
    assert issues(health.findings) == {Issue.LOW_PARTICIPATION: ("1", "2", "3", "4", "5", "6")}
    assert "deadline_s" in health.findings[0].suggestion


def test_a_metric_that_fell_by_more_than_a_tenth_of_its_best_is_diverging():
    health = Diagnostics().check_federation_health(rounds([0.3, 0.5, 0.48, 0.44]))
    assert issues(health.findings) == {Issue.DIVERGING: ("3", "4")}


def test_nine_tenths_of_the_budget_spent_is_said():
    health = Diagnostics().check_federation_health(rounds([0.5] * 6, epsilon=0.95), budget=1.0)
    assert issues(health.findings) == {Issue.BUDGET_NEARLY_SPENT: ("6",)}


def test_perception_issues_name_the_scenes():
    before = {"noon": {"map50": 0.5, "free_space_iou": 0.9}, "dusk": {"map50": 0.4, "free_space_iou": 0.9}}
    after = {
        "noon": {"map50": 0.5, "free_space_iou": 0.7, "detection_ece": 0.05},
        "dusk": {"map50": 0.3, "free_space_iou": 0.88, "detection_ece": 0.4},
    }
    assert issues(Diagnostics().debug_perception(after, before)) == {
        Issue.DETECTION_DROP: ("dusk",),
        Issue.SEGMENTATION_DROP: ("noon",),
        Issue.DOMAIN_GAP: ("dusk",),
        Issue.MISCALIBRATED: ("dusk",),
    }
    assert Diagnostics().debug_perception({"noon": before["noon"]}, before) == ()
