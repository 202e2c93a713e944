"""Several sources in one: of every epoch, exactly three quarters are clean pictures and one quarter noisy ones."""

import numpy as np
import toy

import autobatch

x, y = toy.pictures()
clean = (x / 255, y)
noisy = (x / 255 + np.random.default_rng(1).normal(0, 0.2, x.shape).astype("float32"), y)
history = autobatch.fit(toy.net(), autobatch.mix([clean, noisy], weights=[0.75, 0.25]), batch_size=32, epochs=4, seed=1)
print(history.history["accuracy"])
