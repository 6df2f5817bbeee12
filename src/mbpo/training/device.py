"""What JAX computes on, and how exactly it multiplies there."""

import os

import jax

from mbpo.errors import ConfigError, in_short


def multiply_in_float32() -> None:
    """Multiply matrices in single precision on every device, unless JAX was told how to.

    On recent GPUs JAX rounds the factors to ten bits of mantissa (TF32) by itself; a CPU does not.
    `JAX_DEFAULT_MATMUL_PRECISION` or `jax.config` decide if set.

    Raises:
        ConfigError: JAX has nothing to compute on.
    """
    if _backend() != "cpu" and _precision() is None:
        jax.config.update("jax_default_matmul_precision", "highest")


def describe_device() -> dict[str, str]:
    """The kind of device, and the precision that products of matrices were asked for."""
    return {"kind": jax.devices()[0].device_kind, "matmul_precision": _precision() or "the device's own"}


def _backend() -> str:
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # The second where a GPU was asked for and there is none.
        asked = os.environ.get("JAX_PLATFORMS")
        told = f"was told to compute on {asked} (JAX_PLATFORMS), and " if asked else ""
        raise ConfigError(
            f"JAX {told}finds no such device ({in_short(error)}). Unset JAX_PLATFORMS to compute on what there is; for "
            "an NVIDIA GPU JAX is installed as jax[cuda13], see docs/how-to/gpu.md."
        ) from error


def _precision() -> str | None:
    return getattr(jax.config, "jax_default_matmul_precision", None)
