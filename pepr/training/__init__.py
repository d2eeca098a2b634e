"""Fine-tune one model, measured; the only wing that needs torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loop": ["Batches", "fine_tune", "largest_batch", "predict", "train_epoch"],
    },
)
