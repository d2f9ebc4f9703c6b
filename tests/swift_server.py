"""OpenStack Swift with its S3 API, as Debian packages it, on one folder and the loopback: a store that isn't moto."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.ray_nodes import free_ports
from tests.s3_server import BUCKET, S3Server

PYTHON = "/usr/bin/python3"
"""Debian's Python, which has the package; ours has not."""

PACKAGES = "apt-get install --no-install-recommends swift-proxy swift-account swift-container swift-object"

PATIENCE = 10.0
"""Seconds after which a server that should have started is a failed test."""

RUN = """
import runpy, sys
import eventlet.wsgi
import swift.common.utils

def whole(app):
    def answer(environ, start_response):
        def start(status, headers, *rest):
            if environ["REQUEST_METHOD"] == "HEAD" and not any(name.lower() == "content-length" for name, _ in headers):
                headers = [*headers, ("Content-Length", "0")]
            return start_response(status, headers, *rest)
        return app(environ, start)
    return answer

serve = eventlet.wsgi.server
eventlet.wsgi.server = lambda sock, app, *rest, **options: serve(sock, whole(app), *rest, **options)
swift.common.utils.SWIFT_CONF_FILE = sys.argv[1]
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs one of Swift's programs with a swift.conf that isn't /etc's: arguments are that file, the program, and its own.

eventlet 0.33, which serves Swift in Debian 12, ends the body of a HEAD's answer that states no length, although there
is none. A proxy before Swift drops that; aiohttp, and with it s3fs, takes it for a broken answer. Here a length stands.
"""

RING = """
import sys
import swift.common.utils
swift.common.utils.SWIFT_CONF_FILE = sys.argv[1]
from swift.common.ring import RingBuilder
name, port = sys.argv[2:]
at = {"ip": "127.0.0.1", "port": int(port), "replication_ip": "127.0.0.1", "replication_port": int(port)}
ring = RingBuilder(4, 1, 1)
ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "device": "disk", "meta": ""} | at)
ring.rebalance()
ring.get_ring().save(name)
"""
"""Writes a ring of one disk."""

SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = maskmill
swift_hash_path_suffix = tests

[storage-policy:0]
name = one
default = yes
"""

SERVER_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
log_level = WARNING
fallocate_reserve = 0

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_level = WARNING

[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo versioned_writes proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

# tempauth wants a cache to be named and does without the answers of one: nothing listens there.
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:s3api]
use = egg:swift#s3api
location = us-east-1
auth_pipeline_check = false

[filter:tempauth]
use = egg:swift#tempauth
user_test_test = test .admin

[filter:copy]
use = egg:swift#copy

[filter:slo]
use = egg:swift#slo

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
"""


def missing() -> str | None:
    """What is to be done before Swift can run here; None where it can."""
    programs = [f"/usr/bin/swift-{kind}-server" for kind in ("proxy", "account", "container", "object")]
    return None if all(Path(program).exists() for program in programs) else f"Swift isn't installed: {PACKAGES}"


@contextmanager
def swift_server(folder: Path, bucket: str = BUCKET) -> Iterator[S3Server]:
    """A server with an empty bucket for the length of a `with`; its one disk is a folder.

    The folder's file system must take extended attributes. Requests are held against their signatures.
    """
    (folder / "disk").mkdir(parents=True)
    swift_conf = folder / "swift.conf"
    swift_conf.write_text(SWIFT_CONF)
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    ports = dict(zip(("account", "container", "object", "proxy"), free_ports(4), strict=True))
    user = Path(folder).owner()
    started = []
    try:
        for kind, port in ports.items():
            if kind != "proxy":
                ring = [PYTHON, "-c", RING, swift_conf, folder / f"{kind}.ring.gz", str(port)]
                subprocess.run(ring, check=True, env=inherited)
            conf = folder / f"{kind}.conf"
            text = PROXY_CONF if kind == "proxy" else SERVER_CONF
            conf.write_text(text.format(kind=kind, port=port, folder=folder, user=user))
            with (folder / f"{kind}.log").open("wb") as log:
                command = [PYTHON, "-c", RUN, swift_conf, f"/usr/bin/swift-{kind}-server", conf, "-v"]
                started.append(
                    subprocess.Popen(
                        list(map(str, command)),
                        env=inherited,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        server = S3Server(
            endpoint=f"http://127.0.0.1:{ports['proxy']}", bucket=bucket, pid=started[-1].pid, user="test:test"
        )
        _wait(server, folder)
        yield server
    finally:
        for process in started:
            # The session: a server may have workers.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: S3Server, folder: Path) -> None:
    """Come back once a bucket could be made."""
    from botocore.exceptions import BotoCoreError, ClientError

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(BotoCoreError, ClientError):
            server.client().create_bucket(Bucket=server.bucket)
            return
        time.sleep(0.1)
    raise AssertionError([path.read_text()[-1000:] for path in folder.glob("*.log")])
