"""What this machine is: processor, memory, accelerator and how fast it multiplies matrices."""

import os
import platform
import time
from pathlib import Path

GIB = 2**30


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # absent on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Return the main memory in GiB, or None where the system does not say."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1)
    except (AttributeError, ValueError):
        return None


def accelerators() -> list[dict[str, object]]:
    """Describe every CUDA (or ROCm) device, or the Apple GPU, that torch can use."""
    import torch

    found: list[dict[str, object]] = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "memory_gib": round(properties.total_memory / GIB, 1),
                "capability": f"{properties.major}.{properties.minor}",
            }
        )
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_gib": None, "capability": None})
    return found


def gemm_gflops(*, size: int = 1024, seconds: float = 1.0) -> float:
    """Measure float32 matrix multiplication on the CPU with torch's present thread count.

    Args:
        size: the matrices are [size, size]; one product is 2 * size^3 operations.
        seconds: how long to keep multiplying.

    Returns:
        GFLOP/s of the fastest single product, which other processes disturb least.
    """
    import torch

    left, right = torch.ones(size, size), torch.ones(size, size)
    torch.mm(left, right)
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return round(2 * size**3 / best / 1e9, 1)
