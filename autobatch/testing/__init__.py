"""Fakes for tests: sensors that say what the test tells them, and an engine that trains nothing.

They need no GPU, no root, no Linux and no framework.
"""

from autobatch.testing.cuda import FakeCuda, FakePool
from autobatch.testing.engine import FakeEngine, FakeRecording
from autobatch.testing.sensors import FakeGpu, FakeNvml, FakeNvmlError, memory_reading

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
