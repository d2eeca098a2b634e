"""Which modules this process has loaded, and one that it shall not load."""

from __future__ import annotations

import sys
from types import ModuleType


def loaded_torch() -> ModuleType | None:
    """torch, where this process has loaded it already; asking does not load it."""
    return sys.modules.get("torch")


def without_address_grammar() -> None:
    """Keep jsonschema from loading `rfc3987_syntax`: where that package is installed, each process compiles a
    grammar of internationalised web addresses, which takes seconds, and no notebook or profile holds such an
    address (lark compiles at import: https://github.com/willynilly/rfc3987-syntax)."""
    sys.modules.setdefault("rfc3987_syntax", None)
