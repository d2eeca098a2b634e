"""From runs to scores, intervals, claims and costs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "scores": [
            "curves",
            "data_scores",
            "failures",
            "main_setting",
            "model_means",
            "pepr_table",
            "primary_resource",
            "rank_differences",
            "usual_starts",
            "with_sets",
        ],
        "peaks": ["peak_locations", "peak_table", "performance_intervals"],
        "measures": ["run_draws"],
    },
)
