"""Tensor maths, each fast form beside a slow and obvious reference."""
