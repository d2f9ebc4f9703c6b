"""A Ray cluster of several raylets on this machine, for tests that kill them: each stands for a machine of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import listening, session_of

RAY = """
import types
from ray.scripts import scripts
told = types.ModuleType("ray_constants")
vars(told).update(vars(scripts.ray_constants), ENABLE_RAY_CLUSTER=True)
scripts.ray_constants = told
scripts.main()
"""
"""The command `ray`, which may start several nodes although the switch is set that keeps Ray on the loopback."""

IP = "127.0.0.1"
"""The address of all nodes: Ray tells them apart by their ports."""

PATIENCE = 90.0
"""Seconds after which a node that should have started or ended is a failed test."""

OBJECT_STORE = 80_000_000
"""Bytes of each node's object store: close to the least that Ray takes."""

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as /proc/net writes them."""


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that nobody has just now."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((IP, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """One raylet and all processes that it started, in a session of their own."""

    process: "subprocess.Popen[bytes]"
    """`ray start --block`, the leader of the session."""

    folder: Path
    """Its --temp-dir; its log is FOLDER/start.log."""

    def processes(self) -> dict[int, str]:
        """Its processes that live: pid -> command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and session_of(int(entry.name)) == self.process.pid:
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = words.strip()
        return found

    def workers(self, name: str = "ray::") -> list[int]:
        """Processes of its workers whose title holds `name`, such as ray::MapWorker(MapBatches(Replica))."""
        return [pid for pid, words in self.processes().items() if words.startswith("ray::") and name in words]

    def kill(self) -> None:
        """SIGKILL to all of it until nothing is left: a machine that is gone."""
        end = time.monotonic() + PATIENCE
        while pids := list(self.processes()):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < end, f"{pids} don't end"
            time.sleep(0.01)
        self.process.wait(PATIENCE)

    def listening(self) -> set[str]:
        """Addresses at which its processes take connections, as /proc/net has them."""
        return listening(self.processes())


@dataclass(kw_only=True)
class RayNodes:
    """A head that takes no work, and nodes that come and go."""

    port: int
    """Where the head's GCS listens."""

    environment: dict[str, str]
    """What nodes, and through them replicas, inherit."""

    folder: Path
    """Short, since sockets lie below it."""

    python: Path = Path(sys.executable)
    """What its processes run on."""

    nodes: list[RayNode] = field(default_factory=list)
    """All that were started, the head first."""

    @property
    def address(self) -> str:
        """What RAY_ADDRESS is to be."""
        return f"{IP}:{self.port}"

    def driver(self) -> dict[str, str]:
        """What a driver's environment needs to join."""
        own = {name: value for name, value in self.environment.items() if name.startswith("RAY_")}
        return own | {"RAY_ADDRESS": self.address}

    def add(self, *, cpus: int) -> RayNode:
        """Start a node that takes work, and wait until the cluster has it."""
        agent = free_ports(1)[0]
        return self._start(
            "--address", self.address, "--num-cpus", str(cpus), "--dashboard-agent-listen-port", str(agent)
        )

    def head(self, *, dashboard: int | None) -> RayNode:
        """Start the head."""
        client, agent = free_ports(2)
        seen = ["true", f"--dashboard-host={IP}", f"--dashboard-port={dashboard}"] if dashboard else ["false"]
        return self._start(
            *("--head", "--port", str(self.port), "--num-cpus", "0", "--ray-client-server-port", str(client)),
            *("--dashboard-agent-listen-port", str(agent), "--include-dashboard", *seen),
        )

    def _start(self, *options: str) -> RayNode:
        number = len(self.nodes) + 1
        folder = self.folder / str(number)
        folder.mkdir()
        log = folder / "start.log"
        always = [
            *("--node-ip-address", IP, "--temp-dir", str(folder), "--object-store-memory", str(OBJECT_STORE)),
            *("--min-worker-port", "0", "--max-worker-port", "0", "--disable-usage-stats", "--block"),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(self.python), "-c", RAY, "start", *options, *always],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = RayNode(process=process, folder=folder)
        self.nodes.append(node)
        end = time.monotonic() + PATIENCE
        while b"--block" not in log.read_bytes():  # what it says once it is up: that it blocks
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        return node

    def kill(self) -> None:
        """End all of it, the head last."""
        for node in reversed(self.nodes):
            node.kill()


@contextmanager
def ray_nodes(
    *cpus: int,
    environment: Mapping[str, str] | None = None,
    dashboard: int | None = None,
    python: Path = Path(sys.executable),
) -> Iterator[RayNodes]:
    """A cluster for the length of a `with`: a head without CPUs, and one node for each number of CPUs.

    Args:
        cpus: CPUs that each node offers.
        environment: what its processes get beyond this process's environment.
        dashboard: a port for the head's dashboard, where `ray job submit` goes; none without it.
        python: what its processes run on.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    # The switch keeps Ray's servers on the address that they are told (see pipeline/cluster/__init__.py).
    own = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1"}
    # A token of its own: `ray start --head` asks for the user's, where there is one, and other nodes don't send it.
    own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    folder = Path(tempfile.mkdtemp(prefix="rn-", dir="/tmp"))
    inherited |= own | dict(environment or {})
    cluster = RayNodes(port=free_ports(1)[0], environment=inherited, folder=folder, python=python)
    try:
        cluster.head(dashboard=dashboard)
        for count in cpus:
            cluster.add(cpus=count)
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)
