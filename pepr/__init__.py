"""PePR: performance per resource unit, measured, audited and predicted for image models."""

__version__ = "0.1.0"
