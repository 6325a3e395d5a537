"""When the recipes' smaller nets train: 1.3 times the largest net's MACs instead of 1.45.

The largest net trains alone first; then the smaller ones' transducer losses weigh as much as its
own. Nets trained alone are 0.3 % better in the mean, none significantly
(benchmarks/results/supernet_vs_single.md).
"""

from todm.core.config import SandwichConfig, ScheduleConfig, SupernetConfig

ALONE_FRACTION = 0.35
LATE_SANDWICH = SandwichConfig(start_fraction=ALONE_FRACTION, task_weight=1.0)


def late(schedule: ScheduleConfig) -> ScheduleConfig:
    """Return the schedule with its rate held until the smaller nets train too."""
    return schedule.model_copy(update={"hold_fraction": ALONE_FRACTION})


def whole(config: SupernetConfig) -> SupernetConfig:
    """Return a recipe whose smaller nets train from the first step on, as trained ones have to.

    The largest net alone would undo what they know (``--init``).
    """
    return config.model_copy(
        update={
            "sandwich": config.sandwich.model_copy(update={"start_fraction": 0.0}),
            "schedule": config.schedule.model_copy(update={"hold_fraction": 0.0}),
        }
    )
