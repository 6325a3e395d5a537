"""The evaluation stage: transcribe files, measure WER and emission delay; no torch needed."""
