"""One update in micro-batches: accumulate, roll back, apply. The only room that knows a backend."""
