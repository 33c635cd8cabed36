"""How long a pack takes to start: from its process to the port that the engine connects to."""

import subprocess
import sys
import time
from pathlib import Path


def start_seconds(folder: Path) -> float:
    """Start a pack as the engine does, wait until it serves, end it, and return the seconds that took.

    Raises:
        RuntimeError: when the pack ends instead of serving.
    """
    place = folder.resolve()
    argv = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(place)]
    began = time.monotonic()
    with subprocess.Popen(argv, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as pack:
        line = pack.stdout.readline() if pack.stdout else b""
        seconds = time.monotonic() - began
        pack.kill()
    if not line.strip().isdigit():
        raise RuntimeError(f"the pack in {folder} ended before it served; run `pulumi policy analyze` to see why")
    return seconds
