"""The authors' tables: fetched, audited, corrected, analysed again."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "tables": ["BASE_URL", "COMMIT", "Published", "SHA256", "at_hand", "find_table", "load"],
    },
)
