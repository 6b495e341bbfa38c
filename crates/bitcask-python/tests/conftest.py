"""What tests share: stores in directories that are gone when the test ends, and threads."""

import subprocess
import sys
import threading
import time

import pytest

from bitcask import Bitcask


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def db(path):
    with Bitcask(path) as db:
        yield db


@pytest.fixture
def ordered(path):
    with Bitcask(path, index="ordered") as db:
        yield db


@pytest.fixture
def python(tmp_path):
    """Runs a program in an interpreter of its own, and gives what it printed."""

    def run(program, *args, code=0):
        command = [sys.executable, "-W", "error", "-c", program, *map(str, args)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert ran.returncode == code, (ran.returncode, ran.stdout, ran.stderr)
        assert code != 0 or ran.stderr == "", ran.stderr
        return ran.stdout

    return run


def run_all(*functions):
    """Runs each in a thread, and raises what any of them raised."""
    failures = []

    def run(function):
        try:
            function()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


def wait_until(condition):
    """Returns when it holds, which it does in the end."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never holds"
        time.sleep(0.001)
