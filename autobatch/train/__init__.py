"""The training loop: Keras' callbacks, metrics and History on a schedule of updates of our own."""
