"""What several datasets of one study say together, and where they differ."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "sets": ["Sets"],
        "numbers": ["across_numbers"],
    },
)
