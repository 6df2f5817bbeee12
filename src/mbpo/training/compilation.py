"""Compiled code kept between processes, so that a second run starts at once."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

MIN_COMPILE_SECONDS = 0.01
"""Keep what took at least this long to compile."""


def enable_compilation_cache() -> None:
    """Point JAX at a per-user cache folder, unless a folder was chosen already.

    `JAX_COMPILATION_CACHE_DIR` or `jax.config` decide if set; `JAX_ENABLE_COMPILATION_CACHE=0`
    switches it off. The folder is named after the JAX version and the processor, because
    machine code compiled for one is not safe on another.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    identity = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    folder = Path(home) / "mbpo" / "compiled" / f"jax-{version('jax')}-{version('jaxlib')}-{identity}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # A read-only home only costs compilation time.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def _processor() -> str:
    """What the compiled code depends on: the processor's model and its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
