"""Samples read ahead by threads, in order and within a bound of bytes."""
