"""A target without labels."""
