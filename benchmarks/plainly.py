"""A script's errors in one paragraph, as `mbpo` itself says them."""

import sys
from collections.abc import Callable
from pathlib import Path

from mbpo.errors import MBPOError


def plainly(main: Callable[[], int | None]) -> None:
    """Run `main` and exit with its status."""
    try:
        sys.exit(main())
    except MBPOError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
