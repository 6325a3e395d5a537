"""The report stage: artifacts to one self-contained HTML page."""
