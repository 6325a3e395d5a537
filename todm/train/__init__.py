"""Training: one loop, small tasks."""
