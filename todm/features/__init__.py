"""Features and audio files: numpy and thin wrappers, no torch."""
