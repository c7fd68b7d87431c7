"""Attacks on networks: a harness around torchattacks, which is imported nowhere else.

An attack is an immutable object such as ``Pgd(epsilon=8 / 255)``; `attack_images` turns it loose on
uint8 images in all ways through the gates, and `AttackSpec` names it on the command line.
"""

from detector.attacks.balls import Ball, LinfBall, RmsBall, Unbounded
from detector.attacks.base import Attack, attackable
from detector.attacks.gradient_sign import ApgdCe, Bim, Fgsm, Pgd
from detector.attacks.minimum_norm import CwL2, DeepFool
from detector.attacks.model import DEFAULT_WAYS, AttackedModel, way_name
from detector.attacks.noise import GaussianNoise, SignNoise, UniformNoise
from detector.attacks.spec import AttackName, AttackSpec, attack_class
from detector.attacks.strongest import AttackResult, StrongestOf, attack_images

__all__ = [
    "DEFAULT_WAYS",
    "ApgdCe",
    "Attack",
    "AttackName",
    "AttackResult",
    "AttackSpec",
    "AttackedModel",
    "Ball",
    "Bim",
    "CwL2",
    "DeepFool",
    "Fgsm",
    "GaussianNoise",
    "LinfBall",
    "Pgd",
    "RmsBall",
    "SignNoise",
    "StrongestOf",
    "Unbounded",
    "UniformNoise",
    "attack_class",
    "attack_images",
    "attackable",
    "way_name",
]
