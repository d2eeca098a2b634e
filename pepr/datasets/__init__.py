"""Where images come from, how they are checked, reduced, divided."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "preparation": [
            "DATASETS",
            "Prepared",
            "cache_folder",
            "check_split",
            "describe",
            "find",
            "prepare",
            "stratified_share",
        ],
        "source": ["Dataset", "Loaded", "SPLITS"],
    },
)
