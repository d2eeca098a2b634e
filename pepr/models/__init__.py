"""The model space, its weights, and what one step of each needs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "space": ["Architecture", "BASELINES", "find", "model_space", "paper_models"],
        "weights": ["Created", "OFFLINE_WEIGHTS", "create", "package_weights", "save_backbone"],
    },
)
