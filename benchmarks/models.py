"""The models that several benchmarks train, uncompiled."""

from typing import Any

PIXELS, CLASSES = 96, 10


def small_net() -> Any:
    """A conv net of three layers."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((PIXELS, PIXELS, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def mobilenet() -> Any:
    """MobileNetV2, untrained."""
    from keras.applications import MobileNetV2

    return MobileNetV2(input_shape=(PIXELS, PIXELS, 3), classes=CLASSES, weights=None)


NETS = {"small conv net": small_net, "MobileNetV2": mobilenet}
