"""Running an agent in an environment: the loop, evaluation, checkpoints, logs, settings."""
