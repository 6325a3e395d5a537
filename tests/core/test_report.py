"""What a report says of the machine that made it."""

import sys

from todm.core.report import environment


def test_the_command_names_no_folder_of_this_machine(monkeypatch):
    command = ["/opt/me/bench.py", "--data", "/home/me/data", "--net", "a=/home/me/a", "--x=1/2"]
    monkeypatch.setattr(sys, "argv", [*command, "runs/a"])
    assert environment().command == "bench.py --data data --net a=a --x=1/2 runs/a"
