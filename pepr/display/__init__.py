"""How a value appears: in text, in a table, in a figure."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "numbers": ["update_numbers"],
        "words": ["as_html"],
    },
)
