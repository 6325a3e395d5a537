"""The benchmark stage: latency, memory and budgets of a recogniser on this machine; no torch."""
