"""Anyone's table: read, understood, scored."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reader": ["Reader", "read_table"],
        "scoring": ["score_table"],
    },
)
