"""From runs to scores, intervals, claims and costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scores": [
            "ALIKE",
            "SET",
            "curves",
            "data_scores",
            "failures",
            "main_setting",
            "model_means",
            "on_shared_units",
            "pepr_table",
            "primary_resource",
            "rank_differences",
            "usual_starts",
            "with_sets",
        ],
        "peaks": [
            "PeakLocation",
            "drawn_scores",
            "peak_locations",
            "peak_table",
            "performance_intervals",
            "rank_table",
        ],
        "measures": ["run_draws"],
    },
)
