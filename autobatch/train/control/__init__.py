"""The controller: keeps micro-batches as large as memory allows while a training runs."""
