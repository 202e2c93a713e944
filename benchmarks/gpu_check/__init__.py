"""The checks that a real GPU is needed for, and what runs them: see `scripts/gpu_check`."""
