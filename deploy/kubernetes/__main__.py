"""Write Prometheus' rules as an object of its operator: ``python -m deploy.kubernetes [FILE]``."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

_RULES = Path(__file__).parents[1] / "prometheus" / "rules"
_COMMITTED = Path(__file__).parent / "base" / "prometheus-rule.yaml"
_HEAD = """\
# deploy/prometheus/rules for Prometheus' operator. Made by python -m deploy.kubernetes; what is
# changed here is lost.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: offpath
  labels:
    app.kubernetes.io/name: offpath
spec:
  groups:
"""
_GROUPS = "groups:\n"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kubernetes", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=_COMMITTED)
    file: Path = parser.parse_args().file
    # As text: comments, and where lines break, are for people.
    groups = (path.read_text().partition(_GROUPS)[2] for path in sorted(_RULES.glob("*.yml")))
    file.write_text(_HEAD + "\n".join(textwrap.indent(each, "  ") for each in groups))


if __name__ == "__main__":
    main()
