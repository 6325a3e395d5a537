"""Compositions of stages; no maths, no tensors."""
