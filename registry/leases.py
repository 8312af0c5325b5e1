"""Who holds a reservation, and whether that process still lives. Knows processes, and nothing of ranks."""

import math
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

LEASE_SECONDS = 15 * 60.0  # for other hosts, whose processes cannot be looked at; renewed while work goes on


def host_name() -> str:
    """This machine's (or container's) name, without the dashes that scratch names are parted by."""
    return socket.gethostname().replace("-", "_")


def owner_tag() -> str:
    """Names this process in the name of a scratch folder."""
    return f"{os.getpid()}@{host_name()}"


@dataclass(frozen=True)
class Lease:
    """A claim by one process; `born` tells a recycled pid from its owner."""

    pid: int
    host: str
    born: float | None
    expires: float

    @classmethod
    def mine(cls) -> "Lease":
        """A fresh lease for this process."""
        pid = os.getpid()
        return cls(pid, socket.gethostname(), _born(pid), time.time() + LEASE_SECONDS)

    def is_held(self) -> bool:
        """Here: while the process that took it runs. Elsewhere: until it expires."""
        if self.host != socket.gethostname():
            return time.time() < self.expires
        if not is_running(self.pid):
            return False
        born = _born(self.pid)
        return born == self.born or (born is None and time.time() < self.expires)  # None: another user's, and hidden


def is_running(pid: int) -> bool:
    """Whether a process of this number runs here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _born(pid: int) -> float | None:
    """Clock ticks from boot to the start of the process; None where there is no /proc, or it is hidden; NaN, which is
    nobody's, where the process has ended and is only waited for."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return math.nan if after_name[0] == "Z" else float(after_name[19])
