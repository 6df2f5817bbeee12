"""How exactly products are computed, where nobody has said how."""

import jax
import pytest
from tiny_tasks import one_paragraph

from mbpo.errors import ConfigError
from mbpo.training.device import describe_device, multiply_in_float32


@pytest.fixture
def precision():
    """The setting as it was, put back afterwards."""
    before = jax.config.jax_default_matmul_precision
    yield before
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize(
    ("backend", "said", "then"),
    [("gpu", None, "highest"), ("gpu", "tensorfloat32", "tensorfloat32"), ("cpu", None, None)],
)
def test_a_gpu_multiplies_in_float32_unless_told_otherwise(backend, said, then, precision, monkeypatch):
    jax.config.update("jax_default_matmul_precision", said)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    multiply_in_float32()
    assert jax.config.jax_default_matmul_precision == then
    assert describe_device()["matmul_precision"] == (then or "the device's own")


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unknown backend cuda.\nMore lines")])
def test_a_device_that_is_not_there_is_told(error, monkeypatch):
    def none():
        raise error

    monkeypatch.setattr(jax, "default_backend", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ConfigError) as caught:
        multiply_in_float32()
    assert "compute on cuda (JAX_PLATFORMS)" in one_paragraph(str(caught.value))
