"""Draw R2 over the hours ahead, from the records of a sweep over horizons.

    python -m common.sweep lstm_airquality recipe=24h horizon=1,3,6,12,24 \\
        --record "horizon {horizon}"
    python lstm_airquality/horizons.py

Every point is a model trained for that horizon alone, and so are the baselines' points.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import plots, results
from common.errors import UserError

from lstm_airquality.figures import r2_by_horizon

PREFIX = "horizon "


def curves() -> dict[str, dict[int, float]]:
    """For the network and each baseline: horizon -> R2.

    Raises:
        UserError: there are no such records.
    """
    found: dict[str, dict[int, float]] = {}
    records = [r for r in results.read("lstm_airquality") if r["name"].startswith(PREFIX)]
    for record in sorted(records, key=lambda record: record["settings"]["horizon"]):
        horizon = record["settings"]["horizon"]
        found.setdefault("GRU", {})[horizon] = record["metrics"]["r2"]["mean"]
        for name, figures in record["baselines"].items():
            found.setdefault(name, {})[horizon] = figures["r2"]
    if not found:
        raise UserError(f"results/ has no record named '{PREFIX}...': run the sweep above first")
    return found


if __name__ == "__main__":
    try:
        path = results.RESULTS / "plots" / "lstm_airquality-horizons.png"
        plots.save(r2_by_horizon(curves()), path)
        print(f"written to {path}")
    except UserError as error:
        sys.exit(f"error: {error}")
