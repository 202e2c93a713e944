"""Pictures read through Keras' `ImageDataGenerator`."""
