"""Corpora, batches and augmentation."""
