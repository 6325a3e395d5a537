"""Kernels for GPUs; imported where tensors are on one, never otherwise."""
