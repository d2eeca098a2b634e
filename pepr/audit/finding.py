"""What a check found: one affected row, how severe, what was expected."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that cannot be so, or should not: where it stands, what is seen, what was expected.

    `severity`: `error` (cannot be so), `warning` (misleads if used as it is), `note` (worth knowing).
    `setting` and `model` are empty (None) where a finding is about a whole column or table.
    """

    check: str
    severity: str
    setting: str | None
    model: str | None
    columns: list[str]
    value: Any
    expected: Any
    explanation: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
