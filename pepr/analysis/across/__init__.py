"""What several datasets of one study say together, and where they differ."""
