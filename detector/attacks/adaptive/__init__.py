"""Attackers who know the detector: its network, its score, its copies and its thresholds.

A `Target` is what they know. An `AdaptiveAttack` such as ``SelectivePgd(epsilon=8 / 255)`` looks
for images that are misclassified and not flagged, `measure_curve` says how often it finds them by
epsilon, and the checks of `detector.attacks.adaptive.health` whether that is to be believed.
"""

from detector.attacks.adaptive.base import DEFAULT_BUDGETS, AdaptiveAttack
from detector.attacks.adaptive.chase import Chase, Evasion
from detector.attacks.adaptive.copies import through_copy
from detector.attacks.adaptive.curve import CurvePoint, EvasionCurve, measure_curve
from detector.attacks.adaptive.descent import TEMPERATURES, Descent
from detector.attacks.adaptive.forest import SoftForest
from detector.attacks.adaptive.gradient_free import GradientFree
from detector.attacks.adaptive.guides import GuideMatching, Guides
from detector.attacks.adaptive.health import (
    HealthCheck,
    black_box_trails,
    large_epsilon_suffices,
    rejection_is_believable,
    steps_suffice,
    success_never_falls,
)
from detector.attacks.adaptive.joint import JointPgd
from detector.attacks.adaptive.losses import class_hinge, excess, guide_distance
from detector.attacks.adaptive.observation import Judgement, judge, observe
from detector.attacks.adaptive.projected import OrthogonalPgd, SelectivePgd, orthogonal_to
from detector.attacks.adaptive.shares import Share
from detector.attacks.adaptive.target import Target, thresholds

__all__ = [
    "DEFAULT_BUDGETS",
    "TEMPERATURES",
    "AdaptiveAttack",
    "Chase",
    "CurvePoint",
    "Descent",
    "Evasion",
    "EvasionCurve",
    "GradientFree",
    "GuideMatching",
    "Guides",
    "HealthCheck",
    "JointPgd",
    "Judgement",
    "OrthogonalPgd",
    "SelectivePgd",
    "Share",
    "SoftForest",
    "Target",
    "black_box_trails",
    "class_hinge",
    "excess",
    "guide_distance",
    "judge",
    "large_epsilon_suffices",
    "measure_curve",
    "observe",
    "orthogonal_to",
    "rejection_is_believable",
    "steps_suffice",
    "success_never_falls",
    "thresholds",
    "through_copy",
]
