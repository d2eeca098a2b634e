"""The rows of a sweep in tables, older ones too, and their means."""

import pytest

from pepr.costs.swept import ADDED, COLUMNS, Conditions, Sweep, as_csv, averaged, read_csv
from pepr.errors import InputError

CONDITIONS = Conditions("cpu", 64)


def test_a_table_keeps_two_sweeps_of_a_machine_apart(tmp_path):
    row = dict.fromkeys(COLUMNS) | {
        "model": "dla46_c",
        "contended": False,
        "step_time_s": 0.1 + 0.2,
    }
    both = [
        Sweep(one, {"dla46_c": row | {"device": "cpu", "precision": "fp32"} | vars(one)})
        for one in (CONDITIONS, Conditions("cpu", 256))
    ]
    path = tmp_path / "machine.csv"
    path.write_text(as_csv(*both))
    assert read_csv(path) == both
    path.write_text("model\nant\n")
    with pytest.raises(InputError, match=r"machine\.csv: no sweep: status"):
        read_csv(path)


def test_a_table_from_before_steps_of_a_part_were_measured_is_read(tmp_path):
    row = dict.fromkeys(COLUMNS) | {"model": "dla46_c", "device": "cpu", "precision": "fp32"}
    found = Sweep(CONDITIONS, {"dla46_c": row | vars(CONDITIONS)})
    lines = [text.split(",") for text in as_csv(found).splitlines()]
    kept = [at for at, name in enumerate(COLUMNS) if name not in ADDED]
    path = tmp_path / "machine.csv"
    path.write_text("".join(",".join(line[at] for at in kept) + "\n" for line in lines))
    assert read_csv(path) == [found]


def test_sweeps_of_several_days_are_averaged_each_weighing_alike_and_none_twice():
    def day(at, seconds, memory, **others):
        row = dict.fromkeys(COLUMNS) | {"model": "dla46_c", "status": "ok", "contended": False}
        row |= {"steps": 4, "sweeps": 1, "runs_at_once": 2, "measured_at": at, "step_cpu_time_s": seconds}
        return Sweep(CONDITIONS, {"dla46_c": row | {"peak_memory_bytes": memory} | others})

    first = day("2026-11-27", 0.1, 9, sweeps=None)  # from before sweeps were counted
    second, third = day("2026-11-28", 0.4, 7, part_cpu_time_s=0.2), day("2026-11-29", 0.7, 8)
    both = averaged(first, second)
    row = both.rows["dla46_c"]
    assert (row["sweeps"], row["steps"], row["peak_memory_bytes"], row["measured_at"]) == (
        2,
        8,
        9,
        "2026-11-28",
    )
    assert row["step_cpu_time_s"] == pytest.approx(0.25) and row["part_cpu_time_s"] == 0.2
    assert averaged(both, second) == both
    row = averaged(both, third).rows["dla46_c"]
    assert row["step_cpu_time_s"] == pytest.approx(0.4) and row["sweeps"] == 3
    assert averaged(None, second) == second
    alone = day("2026-11-29", 0.7, 8, runs_at_once=1)
    assert averaged(both, alone) == alone
    failed = Sweep(CONDITIONS, {"dla46_c": {"model": "dla46_c", "status": "failed"}})
    assert averaged(both, failed) == failed
