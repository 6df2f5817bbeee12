"""Where on the disk a module would be found, told without importing anything."""

import contextlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path


def module_places(module: str) -> Iterator[Path]:
    """Every folder and file that importing a dotted module could take it, or a package around it, from.

    More than will be taken: whatever lies on the path under one of the names counts, in whichever entry,
    since a folder without `__init__.py` is a package too, and one package can lie in several entries.
    Links are told as they are and as where they lead to.
    """
    parts = module.split(".")
    bases = [(Path(entry or os.curdir), 0) for entry in sys.path]
    bases += [(Path(location), 1) for location in _locations(parts[0])]
    for count in range(1, len(parts)):
        # What is imported already may have been given other places to look in.
        loaded = getattr(sys.modules.get(".".join(parts[:count])), "__path__", ())
        bases += [(Path(location), count) for location in loaded]
    suffixes = ["", *importlib.machinery.all_suffixes()]
    for base, first in bases:
        yield from _both(base) if first else ()
        for stop in range(first + 1, len(parts) + 1):
            stem = base.joinpath(*parts[first:stop])
            for place in (f"{stem}{suffix}" for suffix in suffixes):
                if os.path.lexists(place):
                    yield from _both(place)


def _locations(name: str) -> list[str]:
    """Where a module without dots lies, by whatever finder finds it; nothing is imported for that."""
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(name)
        if spec is not None:
            return [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location else [])]
    return []


def _both(place: str | Path) -> Iterator[Path]:
    yield Path(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
    yield Path(os.path.realpath(place))
