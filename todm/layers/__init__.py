"""Torch modules, one idea a file; architecture is an argument of every forward."""
