"""The authors' tables and their history, where they are at hand, and made-up recordings of runs."""

import pandas as pd
import pytest

from pepr import published
from pepr.published import history
from pepr.published.tables import TEST_COLUMNS

needs_tables = pytest.mark.skipif(not published.at_hand(), reason="the published tables are not at hand")
needs_history = pytest.mark.skipif(
    not (published.at_hand() and history.at_hand()), reason="the tables or their history are not at hand"
)


def tables() -> published.Published:
    """The authors' tables, for a fixture: what takes it is skipped where they are not at hand."""
    if not published.at_hand():
        pytest.skip("the published tables are not at hand")
    return published.load()


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
