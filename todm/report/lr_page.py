"""The page of a learning-rate range test: loss by rate, and the suggested rate."""

from collections.abc import Sequence

from todm.report.charts import Series, lines
from todm.report.page import document, figure

TITLE = "todm: learning-rate range test"


def render_range(points: Sequence[tuple[float, float, float]], suggested: float) -> str:
    """Return the page as HTML text.

    Args:
        points: Rate, loss and smoothed loss of each step.
        suggested: The rate to take.
    """
    losses = [value for _, *both in points for value in both]
    series = [
        Series("loss", [(lr, loss) for lr, loss, _ in points], 1),
        Series("smoothed", [(lr, smoothed) for lr, _, smoothed in points], 0),
        Series(
            f"suggested: {suggested:.2g}", [(suggested, min(losses)), (suggested, max(losses))], 2
        ),
    ]
    labels = ("optim.lr", "loss per token [nats]")
    chart = lines("range", "Loss by learning rate", series, labels=labels, log=True, log_x=True)
    note = (
        "Transducer loss of the largest net while the rate rises with every step. The suggestion "
        "is where the smoothed loss falls fastest; beyond its least value the rate is too high."
    )
    lead = f'<p class="soft">Suggested optim.lr: {suggested:.2g}.</p>'
    return document(TITLE, lead + figure(chart, note, wide=True))
