"""What JAX computes on, and how exactly it multiplies there."""

import jax


def multiply_in_float32() -> None:
    """Multiply matrices in single precision on every device, unless JAX was told how to.

    On recent GPUs JAX rounds the factors to ten bits of mantissa (TF32) by itself; a CPU does not.
    `JAX_DEFAULT_MATMUL_PRECISION` or `jax.config` decide if set.
    """
    if jax.default_backend() != "cpu" and _precision() is None:
        jax.config.update("jax_default_matmul_precision", "highest")


def describe_device() -> dict[str, str]:
    """The kind of device, and the precision that products of matrices were asked for."""
    return {"kind": jax.devices()[0].device_kind, "matmul_precision": _precision() or "the device's own"}


def _precision() -> str | None:
    return getattr(jax.config, "jax_default_matmul_precision", None)
