"""Fixtures shared with the other folders that train."""

from shared_runs import compiled_code, shared_agents, tiny_run

__all__ = ["compiled_code", "shared_agents", "tiny_run"]
