"""Trials: one size, run for real and measured, in a process of its own where that is possible."""
