"""Everything that becomes a page."""
