"""Stage: a source corpus becomes cuts, 16 kHz audio and a token table."""
