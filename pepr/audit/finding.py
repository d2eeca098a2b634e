"""What a check found: one affected row, how severe, what was expected."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

ERROR, WARNING, NOTE = "error", "warning", "note"
INFERRED, CONFIRMED, REFUTED = "inferred", "confirmed", "refuted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that cannot be so, or should not: where it stands, what is seen, what was expected.

    `severity`: `error` (cannot be so), `warning` (misleads if used as it is), `note` (worth knowing).
    `setting` and `model` are empty (None) where a finding is about a whole column or table; `which`, such as
    `seed 1`, tells a row from others of its setting and model, where there are any. `cause`: one word
    for what the explanation says of how it came about, where a check tells several ways apart. `check`: the
    check's name, which its decorator fills in. `verdict`:
    `inferred` from the table alone, or `confirmed` or `refuted` by a record of how the table came about,
    which then says in `origin` where the value was first recorded.
    """

    severity: str
    setting: str | None
    model: str | None
    columns: list[str]
    value: Any
    expected: Any
    explanation: str
    origin: dict[str, object] | None = None
    verdict: str = INFERRED
    cause: str | None = None
    check: str = ""
    which: str | None = None

    def as_dict(self) -> dict[str, object]:
        return {"check": self.check} | asdict(self)
