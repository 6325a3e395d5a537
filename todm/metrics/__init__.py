"""Word error rate, its intervals, emission delay and latency; numpy and jiwer, no torch."""
