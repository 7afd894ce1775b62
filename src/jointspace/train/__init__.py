"""Training: optimiser, loop, logs, checkpoints and resume."""
