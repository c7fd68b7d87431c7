"""The rules are sound, and every alert fires when it should and only then."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.metric_names import ROOT, RULES, known_names, names_in, rules

FOLDER = ROOT / "deploy" / "prometheus"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
ALERTS = {str(rule["alert"]): rule for rule in rules() if "alert" in rule}


def promtool(programs: dict[str, Path], *arguments: object) -> str:
    done = subprocess.run(
        [str(programs["promtool"]), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_s_own_checker_finds_nothing(programs: dict[str, Path]) -> None:
    found = promtool(programs, "check", "config", FOLDER / "prometheus.yml")
    assert f"{len(RULES)} rule files found" in found
    promtool(programs, "check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(programs: dict[str, Path], case: Path) -> None:
    assert "SUCCESS" in promtool(programs, "test", "rules", case)


def test_each_alert_has_a_case_that_fires_and_one_that_stays_silent() -> None:
    asked = [
        (each["alertname"], bool(each["exp_alerts"]))
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for each in test["alert_rule_test"]
    ]
    assert set(asked) == {(name, fires) for name in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_happened_and_leads_to_its_section_of_the_runbook(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    file, anchor = alert["annotations"]["runbook"].split("#")
    headings = re.findall(r"^## (\w+)$", (FOLDER / file).read_text(), flags=re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings


def test_the_runbook_has_no_section_without_an_alert() -> None:
    headings = re.findall(r"^## (\w+)$", (FOLDER / "RUNBOOK.md").read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)


def test_every_rule_names_metrics_that_exist() -> None:
    for rule in rules():
        assert names_in(str(rule["expr"])) <= known_names(), rule
