"""The dashboards are sound: their queries parse, name what exists, and lie side by side."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.grafana.queries import share_within, wilson
from deploy.watch.figures import DASHBOARDS, filled_in, questions
from tests.deploy.metric_names import ROOT, known_names, names_in

FILES = sorted(DASHBOARDS.glob("*.json"))
QUESTIONS = list(questions())


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def panels(request: pytest.FixtureRequest) -> list[dict]:
    return json.loads(request.param.read_text())["panels"]


def test_there_are_three_dashboards_with_names_of_their_own() -> None:
    read = [json.loads(path.read_text()) for path in FILES]
    assert {each["uid"] for each in read} == {
        f"offpath-{name}" for name in ("overview", "detection", "model")
    }
    assert {question.dashboard for question in QUESTIONS} == {path.stem for path in FILES}


def test_prometheus_s_own_checker_parses_every_query(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    rules = [
        {"record": f"query:{number}", "expr": filled_in(question.expression)}
        for number, question in enumerate(QUESTIONS)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(
        [str(programs["promtool"]), "check", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUESTIONS)} rules found" in done.stdout


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: f"{q.dashboard}, {q.panel}")
def test_every_query_names_metrics_that_exist(question) -> None:
    asked = names_in(question.expression)
    assert asked
    assert asked <= known_names()
    assert "$" not in filled_in(question.expression)


def test_a_misspelt_metric_would_be_found() -> None:
    assert names_in('sum(rate(offpath_imagez_total{level="up"}[5m])) by (level)') == {
        "offpath_imagez_total"
    }
    assert "offpath_imagez_total" not in known_names()


def test_panels_have_numbers_of_their_own_and_do_not_overlap(panels) -> None:
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered = [
        {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        for place in (panel["gridPos"] for panel in panels)
    ]
    for one, other in itertools.combinations(covered, 2):
        assert not one & other
    assert max(x for cells in covered for x, _ in cells) < 24


def test_every_panel_says_how_to_read_it(panels) -> None:
    for panel in panels:
        if panel["type"] != "row":
            assert len(panel["description"]) > 20
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_the_provisioned_datasource_is_of_the_kind_that_the_dashboards_take() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == shipped["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "offpath.yml").read_text())["providers"]
    assert (provider["type"], provider["folder"]) == ("file", "Offpath")


def test_the_p_values_shown_are_between_bounds_that_the_histogram_has() -> None:
    # Prometheus keeps bounds as text: 1 and 1.0 are two.
    assert 'le="1.0"' in share_within("offpath_p_value", 0.9, 1)
    assert 'le="0.9"' in share_within("offpath_p_value", 0.9, 1)


def test_the_interval_is_that_of_wilson() -> None:
    # 10 of 200; scipy.stats.binomtest(10, 200).proportion_ci(method="wilson")
    found = [
        eval(wilson("10", "200", side), {"sqrt": lambda value: value**0.5}) for side in (-1, 1)
    ]
    assert found == pytest.approx([0.02738, 0.08957], abs=2e-5)
