"""What a statement may take, and that waiting for it ends: each in a process of its own, as the command is."""

import json
import signal
import subprocess
import sys
import threading

import duckdb
import pytest

from maskmill.jobs.query import query
from maskmill.models.errors import UsageError
from maskmill.pipeline.query.bounded import LEAST_MEMORY, Limits, Statement, machine_memory

ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE hash(a.range) = b.range"

MEASURED = """
import json, re, sys
from maskmill.jobs.cli import run
code = run(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(json.dumps({"code": code, "peak": int(peak[1]) * 1024}), flush=True)
import os; os._exit(0)
"""


INTERRUPTED = """
import os, signal, sys, threading
from maskmill.jobs.cli import main

def interrupt():
    while sum(thread.name == "duckdb" for thread in threading.enumerate()) < 1:
        threading.Event().wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
main(sys.argv[1:])
"""


def command(made, *arguments):
    return [sys.executable, "-m", "maskmill.jobs.query", str(made), *arguments]


def test_control_c_ends_the_wait_and_the_statement():
    connection = duckdb.connect()
    statement, begun = Statement(connection, 60.0), threading.Event()
    interrupting = threading.Thread(target=lambda: begun.wait() and signal.raise_signal(signal.SIGINT))
    interrupting.start()
    with pytest.raises(KeyboardInterrupt), statement:
        statement.call(lambda: (begun.set(), connection.execute(ENDLESS).fetchall()))
    interrupting.join()
    assert not any(thread.name == "duckdb" for thread in threading.enumerate())


def test_control_c_ends_the_command_with_130(made):
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "query", str(made), ENDLESS], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "maskmill: interrupted\n")


def test_a_statement_that_takes_too_long_ends_with_the_option_named(made):
    ended = subprocess.run(
        command(made, ENDLESS, "--timeout", "1"), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "maskmill: SQL: no answer in 1 s. Ask for less, or give it longer: --timeout SECONDS.\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql", ["SELECT list_sum(range(1000000000))", "SELECT repeat('x', 1000000000) || key FROM samples"]
)
def test_memory_is_bounded_also_for_single_values(made, sql):
    arguments = ["query", str(made), sql, "--memory", "500MB", "--timeout", "30"]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    found = json.loads(ended.stdout)
    assert found["code"] == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "--memory" in ended.stderr or "--timeout" in ended.stderr
    assert found["peak"] < 2_500_000_000


def test_limits_have_usual_values_and_wrong_ones_are_refused(made):
    assert LEAST_MEMORY <= Limits().bytes <= max(machine_memory(), LEAST_MEMORY)
    for options in ({"memory": "lots"}, {"memory": "0"}, {"timeout": 0.0}, {"timeout": float("nan")}):
        with pytest.raises(UsageError, match=r"--memory|--timeout"):
            query(str(made), "SELECT 1", **options)
    with pytest.raises(UsageError, match="--raw"):
        query(str(made), "SELECT 1", json=True, raw=True)
