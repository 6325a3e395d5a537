"""Extraction of the best subnet that a device can afford."""
