"""A plan is read whole, named by its digest, and refused with the file and the field."""

from __future__ import annotations

import pytest

from detector.errors import InvalidInputError
from detector.jobs.evaluation import DEFAULT_PLAN
from detector.jobs.evaluation.plan import EvaluationPlan

PLAN = """
name = "small"
attacks = ["fgsm:8/255", "PGD:eps=8/255", "cw-l2", "square:8/255"]
levels = ["fast", "standard"]
fusions = ["learnt", "one-class"]
baselines = ["energy"]
images = 50
bootstrap = 200

[families]
gradient = ["fgsm", "pgd", "mim"]
boundary = ["cw-l2"]
query = ["square"]

[corruptions]
names = ["snow", "defocus-blur"]
severities = [1, 3]
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return EvaluationPlan.read(path)

    return read


def test_a_plan_holds_what_its_file_says_and_defaults_for_the_rest(read):
    plan = read(PLAN)
    assert plan.attacks == ("fgsm:8/255", "pgd:8/255", "cw-l2", "square:8/255")
    assert [spec.label for spec in plan.attack_specs] == list(plan.attacks)
    assert (plan.images, plan.bootstrap, plan.seed) == (50, 200, 0)
    assert plan.corruptions.names == ("snow", "defocus-blur")
    assert plan.corruptions.severities == (1, 3)
    assert [spec.epsilon for spec in plan.noise_specs] == [8 / 255] * 3
    assert plan.family("pgd:8/255") == "gradient"
    assert plan.left_out() == {
        "gradient": ("fgsm:8/255", "pgd:8/255"),
        "boundary": ("cw-l2",),
        "query": ("square:8/255",),
    }


def test_attacks_that_are_made_on_other_networks_are_none_unless_named(read):
    assert read(PLAN).transfer == ()
    plan = read(f'transfer = ["PGD:eps=8/255", "mim:4/255"]\n{PLAN}')
    assert plan.transfer == ("pgd:8/255", "mim:4/255")
    assert [spec.label for spec in plan.transfer_specs] == list(plan.transfer)
    assert plan.left_out() == read(PLAN).left_out()
    assert plan.digest != read(PLAN).digest


def test_the_digest_names_the_content_and_not_its_spelling(read):
    plan = read(PLAN)
    assert plan.digest == read(PLAN.replace("PGD:eps=8/255", "pgd:8/255")).digest
    assert plan.digest == read(f"seed = 0\n{PLAN}").digest
    assert plan.digest != read(f"seed = 1\n{PLAN}").digest
    assert plan.digest != read(PLAN.replace("[1, 3]", "[1, 2]")).digest
    assert len(plan.digest) == 64


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ('name = "small"', "", "name", "name should be given. Found nothing"),
        ('name = "small"', "name = 3", "name", "name should be text. Found 3"),
        ('name = "small"', 'name = "My plan"', "name", "lower case"),
        ("images = 50", "imagse = 50", "imagse", "imagse should be one of name, attacks"),
        ("images = 50", "images = 0", "images", "at least 1. Found 0"),
        ("images = 50", "images = 5.5", "images", "a whole number. Found 5.5"),
        ("images = 50", "images = true", "images", "a whole number. Found True"),
        ("bootstrap = 200", "bootstrap = 99", "bootstrap", "at least 100. Found 99"),
        ("images = 50", "budgets = [0.05, 1.0]", "budgets", "between 0 and 1"),
        ("images = 50", "budgets = [0.05, 0.05]", "budgets", "different from each other"),
        ("images = 50", "budgets = []", "budgets", "at least 1 in number"),
        ("images = 50", "budgets = 0.05", "budgets", "a list. Found 0.05"),
        ("images = 50", 'budgets = ["5%"]', "budgets[0]", "a finite number"),
        ("images = 50", "budgets = [nan]", "budgets[0]", "a finite number"),
        ("images = 50", "few_shot = [0]", "few_shot", "at least 1. Found 0"),
        ("images = 50", "seeds = [-1]", "seeds", "at least 0. Found -1"),
        ("images = 50", 'noise = ["noise-sign:8/255"]', "noise", "Found no noise-gaussian"),
        ("images = 50", 'noise = ["pgd:8/255"]', "noise", "of the kinds noise-gaussian"),
        ('"cw-l2",', '"cw-l3",', "attacks", "attacks: An attack should be one of"),
        ('"cw-l2",', '"pgd:8/255",', "attacks", "pgd:8/255 more than once"),
        ('"cw-l2",', '"noise-sign:8/255",', "attacks", "noise has a field of its own"),
        ('"cw-l2",', '"cw-l2@0123456789ab",', "attacks", "without the network"),
        ('"cw-l2",', '"fog:3",', "attacks", "corruptions have a field of their own"),
        ("images = 50", 'transfer = ["pgd:8/255@0123456789ab"]', "transfer", "without the network"),
        ("images = 50", 'transfer = ["noise-sign:8/255"]', "transfer", "noise has a field"),
        ("images = 50", 'transfer = ["fog:3"]', "transfer", "corruptions have a field"),
        ("images = 50", 'transfer = ["ddn", "ddn"]', "transfer", "ddn more than once"),
        ('"cw-l2",', '"deepfool",', "families", "Found none for deepfool"),
        ('["cw-l2"]', '["cw-l2", "pgd"]', "families", "pgd in more than one"),
        ('["cw-l2"]', '["cw-l3"]', "families.boundary[0]", "one of fgsm, bim"),
        ('["cw-l2"]', "[]", "families.boundary", "at least 1 in number"),
        ('["learnt", "one-class"]', "[]", "fusions", "at least 1 in number"),
        ("[1, 3]", "[0, 3]", "corruptions.severities", "from 1 to 5. Found 0"),
        ('"snow"', '"snoww"', "corruptions.names", "Found snoww"),
        ("images = 50", 'few_shot_attack = "pgd:4/255"', "few_shot_attack", "the plan's attacks"),
        ("severities", "severity", "corruptions.severity", "one of names, severities"),
    ],
)
def test_a_bad_field_is_refused_with_the_file_and_the_field(read, old, new, field, message):
    assert old in PLAN
    with pytest.raises(InvalidInputError) as caught:
        read(PLAN.replace(old, new, 1))
    assert message in str(caught.value)
    assert "plan.toml: " in str(caught.value)
    assert caught.value.field == field


def test_noise_of_a_norm_that_no_attack_has_is_refused(read):
    with pytest.raises(InvalidInputError, match=r"noise should be of an attack's epsilon"):
        read(PLAN.replace("8/255", "4/255"))


def test_few_shot_classifiers_learn_an_attack_of_the_plan_by_its_own_label(read):
    plan = read(f'few_shot_attack = "PGD:eps=8/255"\n{PLAN}')
    assert plan.few_shot_attack == "pgd:8/255"
    without = PLAN.replace('"PGD:eps=8/255", ', "")
    assert read(f"few_shot = []\n{without}").few_shot == ()


def test_the_plan_of_the_bundled_default_reads():
    plan = EvaluationPlan.read(DEFAULT_PLAN)
    assert plan.name == "cifar10-2"
    assert set(plan.left_out()) == {"gradient", "boundary", "query"}


def test_the_plan_of_hardened_recipes_is_part_of_the_default_one():
    whole = EvaluationPlan.read(DEFAULT_PLAN)
    part = EvaluationPlan.read(DEFAULT_PLAN.with_name("hardening.toml"))
    assert set(part.attacks) < set(whole.attacks)
    assert set(part.adaptive.epsilons) < set(whole.adaptive.epsilons)
    assert (part.adaptive.images, part.adaptive.steps) == (30, whole.adaptive.steps)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    (tmp_path / "plan.toml").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"plan.toml should be TOML"):
        EvaluationPlan.read(tmp_path / "plan.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"should be a readable plan\. Found: No such file"):
        EvaluationPlan.read(tmp_path / "none.toml")
