"""Made-up recordings of runs, as the authors' repository would hold them."""

import pandas as pd

from pepr.published import history
from pepr.published.tables import TEST_COLUMNS


def row(model: str, time: float, energy: float, **more: object) -> dict[str, object]:
    """A recorded run, every accuracy 0.5 and every other cell 1."""
    return {**dict.fromkeys(history.CELLS, 1.0), **dict.fromkeys(TEST_COLUMNS, 0.5)} | {
        "model": model,
        "train_time": time,
        "energy": energy,
        **more,
    }


def told(rows: list[dict[str, object]], table: list[dict[str, object]]) -> history.History:
    return history.from_recordings(pd.DataFrame(rows), pd.DataFrame(table))
