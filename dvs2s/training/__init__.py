"""Training: optimisers and schedules, checkpoints, the loop and its records."""
