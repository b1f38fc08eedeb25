"""Speak with valgrind from inside the process that it runs, and look at the processor that it shows.

A client request is a sequence of instructions that does nothing on a processor and that valgrind recognizes
(``valgrind/valgrind.h``, ``valgrind/callgrind.h``), here for x86-64. It needs no compiler, as it is put into memory as
it is. Imports nothing but the standard library.
"""

import ctypes
import hashlib
import mmap
import struct
from functools import cache
from typing import Any

_REQUEST = bytes.fromhex(
    "4889f8"  # mov rax, rdi: the address of the request and its five arguments
    "31d2"  # xor edx, edx: the answer where no valgrind listens
    "48c1c70348c1c70d48c1c73d48c1c733"  # rol rdi, 3, 13, 61, 51: by 128 bits, so that nothing changes
    "4887db"  # xchg rbx, rbx
    "4889d0c3"  # mov rax, rdx; ret
)
_CPUID = bytes.fromhex(
    "534989d0"  # push rbx; mov r8, rdx: where the answer goes
    "89f889f10fa2"  # mov eax, edi; mov ecx, esi; cpuid
    "41890041895804418948084189500c"  # mov [r8], eax; [r8+4], ebx; [r8+8], ecx; [r8+12], edx
    "5bc3"  # pop rbx; ret
)
_RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = (ord("C") << 24) + (ord("T") << 16)
DUMP_AT, START, STOP = _CALLGRIND + 3, _CALLGRIND + 4, _CALLGRIND + 5
# What tells the runtime which kernels and tiles to choose: vendor, features, caches by descriptors and by leaf 4.
_LEAVES = ((0, 0), (1, 0), (2, 0), (4, 0), (4, 1), (4, 2), (4, 3), (7, 0), (0x80000001, 0), (0x80000006, 0))
_APIC_ID = 0x00FFFFFF  # of leaf 1, EBX: the rest of it names the core that answered


@cache
def _code() -> tuple[mmap.mmap, int]:
    """Put both functions into executable memory; return it and its address.

    Raises:
        OSError: the system allows no memory that is written and executed.
    """
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory[: len(_REQUEST)] = _REQUEST
    memory[64 : 64 + len(_CPUID)] = _CPUID
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


def request(number: int, argument: bytes | None = None) -> int:
    """Make a client request; return valgrind's answer, 0 without one."""
    text = ctypes.create_string_buffer(argument) if argument is not None else None
    address = ctypes.addressof(text) if text is not None else 0
    arguments = (ctypes.c_uint64 * 6)(number, address, 0, 0, 0, 0)
    call: Any = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(_code()[1])
    return int(call(ctypes.addressof(arguments)))


def running() -> bool:
    """Check whether valgrind runs this process."""
    return request(_RUNNING_ON_VALGRIND) > 0


def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """Return EAX, EBX, ECX and EDX of the processor that this process sees."""
    answer = (ctypes.c_uint32 * 4)()
    call: Any = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(_code()[1] + 64)
    call(leaf, subleaf, ctypes.addressof(answer))
    eax, ebx, ecx, edx = answer
    return eax, ebx & _APIC_ID if leaf == 1 else ebx, ecx, edx


def processor() -> str:
    """Return vendor and model number of that processor, and a hash of its features and caches."""
    leaves = [cpuid(*leaf) for leaf in _LEAVES]
    vendor = struct.pack("<III", leaves[0][1], leaves[0][3], leaves[0][2]).decode("ascii", "replace")
    digest = hashlib.sha256(repr(leaves).encode()).hexdigest()[:8]
    return f"{vendor}-{leaves[1][0]:x}-{digest}"
