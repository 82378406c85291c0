"""The outside world in memory, driven by trio's clock. The suites of ``tests/contract`` prove these fakes.

``Weather`` decides what befalls their calls: an outage, a single failure, or whatever a hook does.
"""

from tests.fakes.artifacts import MemoryArtifacts
from tests.fakes.browsers import FakeBrowser, FakeLauncher, FakePage, Turn
from tests.fakes.clock import EPOCH, now
from tests.fakes.dead_letters import MemoryDeadLetters
from tests.fakes.jobs import MemoryJobs
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.queue import MemoryQueue
from tests.fakes.rendering import FakeRenderer, FakeTypes
from tests.fakes.weather import Weather

__all__ = [
    "EPOCH",
    "FakeBrowser",
    "FakeLauncher",
    "FakePage",
    "FakeRenderer",
    "FakeTypes",
    "MemoryArtifacts",
    "MemoryDeadLetters",
    "MemoryJobs",
    "MemoryOutbox",
    "MemoryQueue",
    "Turn",
    "Weather",
    "now",
]
