"""Word error rate, its intervals, delay, latency and hypervolume; numpy and jiwer, no torch."""
