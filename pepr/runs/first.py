"""The first of many rows: kept once one shows that the machine is sound, and none where all fail alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pepr.errors import FIRST_ALIKE, OF_A_MACHINE, WorkFailed, without_names
from pepr.runs.columns import Record


@dataclass
class FirstRows:
    """Hands the rows of `wanted` models on to `append`: failures only when a model has ended well, so that
    the machine is known to be `sound`, or with the last of them."""

    append: Callable[[Record], None]
    wanted: int
    sound: bool = False
    _held: list[Record] = field(default_factory=list)
    _told: int = 0

    def add(self, row: Record) -> None:
        """Take a row. Raises WorkFailed where the first models failed alike: none of them is at fault, and
        none has a row."""
        self._held.append(row)
        self._told += 1
        self.sound = self.sound or row["status"] == "ok"
        if not self.sound:
            self._stop_at_a_shared_fault()
        if self.sound or self._told == self.wanted:
            for one in self._held:
                self.append(one)
            self._held.clear()

    def _stop_at_a_shared_fault(self) -> None:
        first, enough = self._held[0], min(FIRST_ALIKE, self.wanted)
        ends = {(row["failure"], without_names(row["explanation"], [row["model"]])) for row in self._held}
        if len(self._held) < enough or enough < 2 or len(ends) > 1 or first["failure"] not in OF_A_MACHINE:
            return
        raise WorkFailed(
            f"the first {len(self._held)} models failed alike, which is a fault of this machine and none of "
            f"theirs: {first['failure']}: {first['explanation']}. They left no row: when it is mended, the "
            "same command measures them"
        )
