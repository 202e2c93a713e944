"""The TensorFlow engine. No TensorFlow type leaves this package."""
