"""A study: planned, forecast, carried out, recovered, verified, handed in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "profile": ["Profile", "grid", "load", "other_start", "profile_names", "restrict", "save"],
    },
)
