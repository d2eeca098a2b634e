"""A run: what was asked, what was recorded, and the table of many."""

import lazy_loader

from pepr.files import results_root as results_root

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "columns": ["COLUMNS"],
        "record": ["run_record"],
        "spec": ["RunSpec"],
        "store": ["Store", "predictions_digest", "record_digest"],
        "results": [
            "Results",
            "as_table",
            "checksums",
            "collect",
            "find_results",
            "read_table",
            "reference_folder",
            "write_reference",
        ],
    },
)
