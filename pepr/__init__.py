"""PePR: performance per resource unit, measured, audited and predicted for image models."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`pepr.measure`, loaded where it is asked for: the package itself imports nothing."""
    if name == "measure":
        from pepr.study.measurement import measure

        return measure
    raise AttributeError(f"module 'pepr' has no attribute {name!r}")
