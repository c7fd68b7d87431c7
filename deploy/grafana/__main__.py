"""Write the dashboards' JSON into a folder: ``python -m deploy.grafana [FOLDER]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deploy.grafana.detection import DETECTION
from deploy.grafana.model import MODEL
from deploy.grafana.overview import OVERVIEW

_COMMITTED = Path(__file__).parent / "dashboards"


def main() -> None:
    """Write one file for each dashboard, and nothing else."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=_COMMITTED)
    folder: Path = parser.parse_args().folder
    for dashboard in (OVERVIEW, DETECTION, MODEL):
        text = json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False)
        (folder / f"{dashboard.name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
