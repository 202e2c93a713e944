"""A process that takes 512 MiB of a GPU by TensorFlow and prints what it reads of itself, for `readings.py`."""

import json

import tensorflow as tf

from autobatch.step.backend import read_memory_here

ELEMENTS = 128 << 20

if __name__ == "__main__":
    with tf.device("GPU:0"):
        taken = tf.ones((ELEMENTS,)) + 1
    float(taken[0])
    reading = read_memory_here()
    device = reading.devices[0]
    told = {"own": device.used_by_this_process_bytes, "own_from": device.own_from, "taken": 4 * ELEMENTS}
    print(json.dumps({**told, "notes": reading.notes}))
