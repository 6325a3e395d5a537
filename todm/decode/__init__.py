"""Greedy search over steps and the token table: numpy only, no torch."""
