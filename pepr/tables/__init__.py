"""Anyone's table: read, understood, scored."""
