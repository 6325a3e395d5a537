"""``python -m todm``: the command line where a module is asked for, as under torchrun."""

from todm.cli import main

main()
