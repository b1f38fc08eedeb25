"""Put processes into network namespaces that a slow wire joins, on one machine; needs root and ``ip``.

Each namespace has a tunnel device (TUN) whose packets this process reads, holds back as long as a wire of that
bandwidth and delay would, and writes to the device that they are addressed to. The kernel's own ``tc netem`` is not
needed, as small kernels lack it. This process itself is at the first address.
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from quantbench.errors import BadInput

NETWORK = f"10.213.{os.getpid() % 256}"  # of this process's own, so that two studies may run beside each other
_DEVICE = Path("/dev/net/tun")
_SET, _TUN, _NO_HEADER = 0x400454CA, 0x0001, 0x1000  # of linux/if_tun.h
_LARGEST = 65_536
_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class Wire:
    """Describe what joins the namespaces.

    Attributes:
        megabits: a second, of each end and direction.
        milliseconds: delay one way.
    """

    megabits: float
    milliseconds: float


@dataclass(order=True)
class _Packet:
    due: float
    number: int
    content: bytes = field(compare=False)


def address(place: int) -> str:
    """Return the address of a place; 0 is this process's own."""
    return f"{NETWORK}.{place + 1}"


def inside(place: int) -> list[str]:
    """Return the command that runs another one in a place; nothing for this process's own."""
    return ["ip", "netns", "exec", _namespace(place)] if place else []


@contextmanager
def joined(places: int, wire: Wire) -> Iterator[None]:
    """Make so many places besides this process's own, and carry packets between them.

    Raises:
        BadInput: this process may not make namespaces or tunnels.
    """
    if os.geteuid() != 0 or not _DEVICE.exists():
        raise BadInput(f"network namespaces need root and {_DEVICE}; leave the option out to measure on one network")
    with ExitStack() as stack:
        ends = [stack.enter_context(_tunnel(place)) for place in range(places + 1)]
        stack.enter_context(_carrying(ends, wire))
        yield


def _namespace(place: int) -> str:
    return f"quantbench-{os.getpid()}-{place}"


@contextmanager
def _tunnel(place: int) -> Iterator[int]:
    """Make a place's namespace and its device; yield the descriptor that its packets are read from."""
    descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK)
    name = f"qb{os.getpid() % 10**6}-{place}"
    try:
        fcntl.ioctl(descriptor, _SET, struct.pack("16sH", name.encode(), _TUN | _NO_HEADER))
        if place:
            _ip("netns", "add", _namespace(place))
            _ip("link", "set", name, "netns", _namespace(place))
            _ip("-n", _namespace(place), "link", "set", "lo", "up")
        where = ["-n", _namespace(place)] if place else []
        _ip(*where, "address", "add", f"{address(place)}/24", "dev", name)
        _ip(*where, "link", "set", name, "up")
        yield descriptor
    finally:
        os.close(descriptor)
        if place:
            subprocess.run(["ip", "netns", "delete", _namespace(place)], check=False, capture_output=True)


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = str(getattr(error, "stderr", "") or error).strip()
        raise BadInput(f"ip {' '.join(words)} failed: {told}") from None


@contextmanager
def _carrying(ends: list[int], wire: Wire) -> Iterator[None]:
    """Carry packets in a thread."""
    over = threading.Event()
    carrier = threading.Thread(target=_carry, args=(ends, wire, over), daemon=True)
    carrier.start()
    try:
        yield
    finally:
        over.set()
        carrier.join()


def _carry(ends: list[int], wire: Wire, over: threading.Event) -> None:
    """Carry packets until it is over."""
    rate, delay = wire.megabits * 1e6 / 8, wire.milliseconds / 1000
    out = [0.0] * len(ends)  # when the wire from each end is free again
    into = [0.0] * len(ends)
    held: list[_Packet] = []
    number = 0
    while not over.is_set():
        wait = _WAIT_SECONDS if not held else max(0.0, min(_WAIT_SECONDS, held[0].due - time.monotonic()))
        ready, _, _ = select.select(ends, [], [], wait)
        for descriptor in ready:
            content = os.read(descriptor, _LARGEST)
            to = content[19] - 1 if len(content) >= 20 and content[0] >> 4 == 4 else -1
            if not 0 <= to < len(ends):
                continue  # not to one of ours, such as IPv6's looking for neighbours
            here, now, takes = ends.index(descriptor), time.monotonic(), len(content) / rate
            out[here] = max(out[here], now) + takes
            into[to] = max(into[to], out[here] + delay - takes) + takes
            heapq.heappush(held, _Packet(into[to], number, content))
            number += 1
        while held and held[0].due <= time.monotonic():
            packet = heapq.heappop(held)
            with suppress(OSError):  # a full queue loses it, as a wire's end does
                os.write(ends[packet.content[19] - 1], packet.content)
