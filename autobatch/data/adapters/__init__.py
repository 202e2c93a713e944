"""Each kind of data that Keras takes, as a source or a stream."""
