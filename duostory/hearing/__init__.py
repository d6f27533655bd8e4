"""Listening: from sound to what was meant."""
