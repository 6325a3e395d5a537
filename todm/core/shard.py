"""Which part of a global batch one process holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Every ``world``-th row of a batch of ``total`` rows, from row ``rank`` on.

    The rows of a bucketed batch lie in order of duration, so that every process gets short and
    long ones alike. What is drawn per row is drawn by its place in the whole batch: the processes
    together compute what one alone would.
    """

    rank: int
    world: int
    total: int

    @property
    def rows(self) -> range:
        """The places in the whole batch of the rows held here."""
        return range(self.rank, self.total, self.world)

    @property
    def share(self) -> float:
        """The held part of the rows: the weight of a mean over them in the mean over all."""
        return len(self.rows) / self.total
