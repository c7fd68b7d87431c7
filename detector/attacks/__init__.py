"""Attacks on networks: a harness around torchattacks, which is imported nowhere else.

An attack is an immutable object such as ``Pgd(epsilon=8 / 255)``; `attack_images` turns it loose on
uint8 images in all ways through the gates, `TransferThrough` makes the images on another network,
and `AttackSpec` names attacks on the command line. Noise and corruptions take the same way.
"""

from detector.attacks.balls import Ball, LinfBall, RmsBall, Unbounded
from detector.attacks.base import Attack, attackable
from detector.attacks.black_box import Square
from detector.attacks.corruption import Corrupted
from detector.attacks.eight_bit import Ddn
from detector.attacks.gradient_sign import ApgdCe, Bim, Fgsm, Mim, Pgd
from detector.attacks.minimum_norm import CwL2, DeepFool
from detector.attacks.model import DEFAULT_WAYS, AttackedModel, way_name
from detector.attacks.noise import GaussianNoise, SignNoise, UniformNoise
from detector.attacks.result import AttackResult
from detector.attacks.spatial import Spatial
from detector.attacks.spec import AttackName, AttackSpec, attack_class
from detector.attacks.strongest import StrongestOf, attack_images
from detector.attacks.targeted import ApgdT, Fab
from detector.attacks.transfer import TransferThrough

__all__ = [
    "DEFAULT_WAYS",
    "ApgdCe",
    "ApgdT",
    "Attack",
    "AttackName",
    "AttackResult",
    "AttackSpec",
    "AttackedModel",
    "Ball",
    "Bim",
    "Corrupted",
    "CwL2",
    "Ddn",
    "DeepFool",
    "Fab",
    "Fgsm",
    "GaussianNoise",
    "LinfBall",
    "Mim",
    "Pgd",
    "RmsBall",
    "SignNoise",
    "Spatial",
    "Square",
    "StrongestOf",
    "TransferThrough",
    "Unbounded",
    "UniformNoise",
    "attack_class",
    "attack_images",
    "attackable",
    "way_name",
]
