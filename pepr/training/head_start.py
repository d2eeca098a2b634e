"""What a run's kernel does first, while papermill gets to know it: load what training needs."""

from __future__ import annotations

import gc
import importlib
import threading

from pepr.machine import meter

LIBRARIES = ("timm", "torch._dynamo")
"""What building and training a model load on first use."""


def begin() -> None:
    """Load `training` with its libraries in a thread of its own, and open the meter in another.

    What is loaded stays; looking for garbage in it meanwhile would take a fifth of the loading's time, so
    that search is off until `training` turns it on again. What fails to load fails again where it is needed.
    """
    gc.disable()
    threading.Thread(target=_load, daemon=True).start()
    meter.open_ahead()


def _load() -> None:
    for library in ("pepr.training.loop", *LIBRARIES):
        importlib.import_module(library)
