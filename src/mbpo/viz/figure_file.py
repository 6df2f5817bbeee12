"""Writing a figure whole: never half of it, and never through a link that lies in its place."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from mbpo.training.durable import put


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure in the format of the file's suffix, PNG without one.

    Raises:
        OSError: It cannot be written.
        ValueError: There is no such format.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=out.suffix.removeprefix(".") or "png")
    put(out, buffer.getvalue(), flush=False)
