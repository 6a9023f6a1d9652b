"""Many files: planning, workers, what was done, and what goes with a picture."""
