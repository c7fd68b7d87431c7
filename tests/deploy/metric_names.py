"""Which metrics there are, and which ones an expression asks for."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from service.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))

OF_PROMETHEUS = {"up", "ALERTS"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
NAME = re.compile(r"(?<![\w:$])(?:(?:\w+:)?(?:offpath|process)_[\w:]+|up|ALERTS)(?![\w:])")


def known_names() -> set[str]:
    """Names of all series that a Prometheus with our rules has."""
    families = Metrics(CollectorRegistry()).registry.collect()
    exposed = {
        family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    return exposed | recorded | OF_PROMETHEUS


def rules() -> list[dict[str, object]]:
    """Every rule, recording and alerting, as YAML has it."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def names_in(expression: str) -> set[str]:
    """Names of the series that an expression asks for."""
    return set(NAME.findall(QUOTED.sub('""', expression)))
