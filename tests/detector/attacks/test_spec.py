"""Attacks by name."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.attacks import (
    ApgdCe,
    ApgdT,
    AttackName,
    AttackSpec,
    Bim,
    Corrupted,
    CwL2,
    Ddn,
    DeepFool,
    Fab,
    Fgsm,
    GaussianNoise,
    Mim,
    Pgd,
    Spatial,
    Square,
)
from detector.corruptions import CorruptionName, Fog
from detector.corruptions import GaussianNoise as CorruptingNoise
from detector.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "attack", "label"),
    [
        ("fgsm:8/255", Fgsm(epsilon=8 / 255), "fgsm:8/255"),
        ("bim:eps=4/255", Bim(epsilon=4 / 255), "bim:4/255"),
        ("pgd:8/255", Pgd(epsilon=8 / 255), "pgd:8/255"),
        ("pgd:eps=8/255,steps=20", Pgd(epsilon=8 / 255, steps=20), "pgd:8/255,steps=20"),
        ("PGD: epsilon=2/255 , steps=10", Pgd(epsilon=2 / 255), "pgd:2/255"),
        ("pgd:restarts=3,eps=0.01", Pgd(epsilon=0.01, restarts=3), "pgd:0.01,restarts=3"),
        ("pgd:0", Pgd(epsilon=0), "pgd:0"),
        ("apgd-ce:1e-2", ApgdCe(epsilon=0.01), "apgd-ce:0.01"),
        ("cw-l2", CwL2(), "cw-l2"),
        ("cw-l2:confidence=1.5", CwL2(confidence=1.5), "cw-l2:confidence=1.5"),
        ("cw-l2:trade-off=2", CwL2(trade_off=2), "cw-l2:trade_off=2"),
        ("deepfool:overshoot=0.5", DeepFool(overshoot=0.5), "deepfool:overshoot=0.5"),
        ("mim:8/255", Mim(epsilon=8 / 255), "mim:8/255"),
        ("apgd-t:8/255,targets=3", ApgdT(epsilon=8 / 255, targets=3), "apgd-t:8/255,targets=3"),
        ("fab:8/255", Fab(epsilon=8 / 255), "fab:8/255"),
        ("square:8/255,queries=50", Square(epsilon=8 / 255, queries=50), "square:8/255,queries=50"),
        ("ddn:steps=100", Ddn(), "ddn"),
        ("spatial:degrees=15", Spatial(degrees=15), "spatial:degrees=15"),
        ("noise-gaussian:8/255", GaussianNoise(epsilon=8 / 255), "noise-gaussian:8/255"),
        ("fog:severity=3", Corrupted(corruption=Fog(severity=3)), "fog:3"),
        ("Gaussian-Noise:5", Corrupted(corruption=CorruptingNoise(severity=5)), "gaussian-noise:5"),
    ],
)
def test_a_spec_builds_its_attack_and_has_one_label(text, attack, label) -> None:
    spec = AttackSpec.parse(text)
    assert spec.build() == attack
    assert spec.label == label
    assert AttackSpec.parse(label) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be one of fgsm, bim"),
        ("zap:8/255", "Found 'zap'"),
        ("pgd", "Write pgd:8/255"),
        ("pgd:8", r"epsilon should lie in \[0, 1\]"),
        ("pgd:-8/255", "should be numbers"),
        ("pgd:8/0", "should be numbers"),
        ("pgd:eps=", "should be numbers"),
        ("pgd:8/255,", "should be numbers"),
        ("pgd:eps=nan", "should be numbers"),
        ("pgd:8/255,8/255", "each once"),
        ("pgd:8/255,colour=3", "among epsilon, steps, restarts"),
        ("pgd:8/255,steps=1.5", "whole number"),
        ("pgd:8/255,steps=0", "at least 1"),
        ("cw-l2:8/255", "among confidence"),
        ("fgsm:8/255,steps=3", "among epsilon"),
        ("spatial:8/255", "among degrees"),
        ("spatial:zoom=1", r"zoom should lie in 0\.\.0\.9"),
        ("fog", "Write fog:3"),
        ("fog:6", "severity of fog should be one of 1 to 5"),
        ("fog:0", "severity of fog should be one of 1 to 5"),
        ("fog:1.5", "whole number"),
        ("fog:8/255", "whole number"),
        ("gaussian-noise:eps=8/255", "among severity"),
        ("noise-gaussian:severity=3", "among epsilon"),
        ("pgd:8/255@", "12 hexadecimal digits"),
        ("pgd:8/255@plain", "12 hexadecimal digits"),
        ("pgd:8/255@0123456789ab@0123456789ab", "12 hexadecimal digits"),
    ],
)
def test_a_spec_that_does_not_read_is_refused_with_advice(text, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        AttackSpec.parse(text)


def test_the_network_that_an_attack_goes_through_stands_in_its_label() -> None:
    spec = AttackSpec.parse("pgd:eps=8/255,steps=20@0123456789ab")
    assert spec.through == "0123456789ab"
    assert spec.label == "pgd:8/255,steps=20@0123456789ab"
    assert spec.build() == Pgd(epsilon=8 / 255, steps=20)
    assert spec != AttackSpec.parse("pgd:8/255,steps=20")
    assert AttackSpec.parse(spec.label) == spec


@pytest.mark.parametrize("name", CorruptionName)
@pytest.mark.parametrize("severity", range(1, 6))
def test_a_corruptions_label_is_its_own_name(name, severity) -> None:
    spec = AttackSpec(name=name, options=(("severity", severity),))
    attack = spec.build()
    assert isinstance(attack, Corrupted)
    assert attack.is_benign
    assert attack.corruption.name == spec.label == f"{name}:{severity}"


@given(st.text(max_size=40))
def test_any_text_is_a_spec_or_a_clear_refusal(text: str) -> None:
    with suppress(InvalidInputError):
        spec = AttackSpec.parse(text)
        assert AttackSpec.parse(spec.label) == spec


@given(
    name=st.sampled_from([AttackName.PGD, AttackName.BIM, AttackName.APGD_CE]),
    epsilon=st.floats(0, 1, allow_subnormal=False).filter(lambda e: e == 0 or e > 1e-9),
    steps=st.integers(1, 1000),
)
def test_labels_read_back_to_the_same_attack(name, epsilon, steps) -> None:
    spec = AttackSpec(name=name, options=(("steps", steps), ("epsilon", epsilon)))
    again = AttackSpec.parse(spec.label)
    assert again.label == spec.label
    assert again.epsilon == pytest.approx(epsilon, abs=1e-9)
