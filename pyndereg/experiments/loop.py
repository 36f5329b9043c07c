"""Training from epoch to epoch: curves that grow, a state that is kept, a run that goes on where it was killed."""

from collections.abc import Callable, Mapping

from pyndereg.experiments.checkpoint import Checkpoint, Stateful

Row = dict[str, float]


def run_epochs(
    count: int,
    epoch: Callable[[int], Row],
    *,
    parts: Mapping[str, Stateful],
    checkpoint: Checkpoint | None = None,
    report: Callable[[Row], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Train for a number of epochs, or for those that an interrupted run has left.

    Args:
        count: epochs of the whole run.
        epoch: trains through the epoch of a number, counted from 0; returns one value for each curve, among them
            training_seconds, of this epoch alone.
        parts: all that changes in training besides torch's generators, under names: model, optimizer, schedule.
        checkpoint: where the state is kept after every epoch, and restored from at the start.
        report: is told the values of every epoch, of those that were restored too.
    Returns:
        One value per epoch under each name; training_seconds cumulated.
    """
    rows = [] if checkpoint is None else checkpoint.restore(parts)
    for row in rows:
        if report is not None:
            report(row)
    for number in range(len(rows), count):
        row = epoch(number)
        row["training_seconds"] += rows[-1]["training_seconds"] if rows else 0.0
        rows.append(row)
        if checkpoint is not None:
            checkpoint.save(parts, rows)
        if report is not None:
            report(row)
    return {name: tuple(row[name] for row in rows) for name in rows[0]}
