"""Arrays that an `ImageDataGenerator` transforms at random."""

import toy
from tensorflow.keras.preprocessing.image import ImageDataGenerator

import autobatch

x, y = toy.pictures()
datagen = ImageDataGenerator(rescale=1 / 255, height_shift_range=0.1, validation_split=0.2)
history = autobatch.fit(toy.net(), datagen, (x, y), batch_size=32, epochs=4, seed=1)
print(history.history["val_accuracy"])
