"""What several tests of measuring share."""

from collections.abc import Iterator

import pytest
from quantbench.measure import gpu_devices


@pytest.fixture
def asked_afresh() -> Iterator[None]:
    """The devices are asked for once in a process; here once in a test."""
    gpu_devices.find.cache_clear()
    yield
    gpu_devices.find.cache_clear()
