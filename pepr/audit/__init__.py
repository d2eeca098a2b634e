"""What cannot be right in a table, whoever made it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "finding": ["Finding"],
        "power": ["HOST_POWER_W", "LARGEST_PUE"],
        "report": ["as_text", "audit", "audit_file", "exit_status", "summary", "to_json"],
    },
)
