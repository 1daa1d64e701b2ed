"""Databases behind the tool `sql`: where they are, how statements are bound, what was done once."""
