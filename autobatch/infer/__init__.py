"""Evaluation and prediction with a size that fits."""
