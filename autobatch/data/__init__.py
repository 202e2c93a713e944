"""Which samples, in what order and cut. Knows Keras' flows and arrays; knows no memory."""
