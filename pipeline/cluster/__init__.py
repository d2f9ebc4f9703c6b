"""All that knows Ray. What Ray reads of the environment as it is imported is set here, before any module imports it."""

import os

if not os.environ.get("RAY_ADDRESS"):
    # A cluster of one is for this machine alone. Without this Ray's servers listen on every interface, also where
    # `ray.init` is told the loopback's address, and run what they are sent; Ray names the switch after the systems
    # where it is off by default.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

# Ray's inner life stays out of ours: a worker's death, which we count, is pages of Ray's on stdout. Its log files hold
# it all. Ray reads both as it is imported.
os.environ.setdefault("RAY_DATA_LOG_LEVEL", "CRITICAL")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
