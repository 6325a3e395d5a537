"""Train one elastic streaming recogniser, ship it to every device."""

__version__ = "0.1.0"
