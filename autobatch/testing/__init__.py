"""Fakes for tests: sensors that say what the test tells them, and an engine that trains nothing.

They need no GPU, no root, no Linux and no framework.
"""

from autobatch.testing.engine import FakeEngine, FakeRecording
from autobatch.testing.sensors import FakeCuda, FakeGpu, FakeNvml, FakeNvmlError, FakePool, memory_reading

__all__ = [
    "FakeCuda",
    "FakeEngine",
    "FakeGpu",
    "FakeNvml",
    "FakeNvmlError",
    "FakePool",
    "FakeRecording",
    "memory_reading",
]
