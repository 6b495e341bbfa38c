"""What the documents say: the examples of docstrings and README run, and the command line is there."""

import doctest
import pathlib
import shlex
import subprocess
import sys

import pytest

import bitcask
from bitcask import _bitcask, _report, _store, aio, errors

HERE = pathlib.Path(__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def found_tests():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in (bitcask, _bitcask, _store, _report, aio, errors):
        for test in finder.find(module, module.__name__):
            if test.examples:
                yield test


@pytest.mark.parametrize("test", list(found_tests()), ids=lambda test: test.name)
def test_examples_of_docstrings(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with bitcask.Bitcask("example") as db:
        if "db" not in test.globs:
            test.globs["db"] = db
        told = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=told.append)
        assert runner.failures == 0, "".join(told)


def test_there_are_examples():
    names = {test.name for test in found_tests()}
    for method in ("get", "put", "delete", "incr", "ttl", "expire", "get_many"):
        assert f"bitcask._bitcask.Store.{method}" in names
    assert "bitcask._store._Reads.scan" in names
    for method in ("snapshot", "batch", "transaction", "merge", "verify", "checkpoint"):
        assert f"bitcask._store.Bitcask.{method}" in names


def test_everything_public_is_documented():
    for cls in (bitcask.Bitcask, bitcask.Snapshot, bitcask.Batch, bitcask.Transaction, aio.Bitcask):
        assert cls.__doc__
        for name in dir(cls):
            if not name.startswith("_"):
                assert getattr(cls, name).__doc__, (cls, name)


def blocks(text, language):
    """The blocks of code of a document, in this language."""
    parts = text.split(f"```{language}\n")[1:]
    return [part.split("```")[0] for part in parts]


def test_examples_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (HERE.parent / "README.md").read_text()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    parser = doctest.DocTestParser()
    told, names = [], {}
    ran = 0
    for block in blocks(text, "python"):
        if ">>>" in block:
            test = parser.get_doctest(block, names, "README.md", "README.md", 0)
            runner.run(test, out=told.append, clear_globs=False)
            names = test.globs
        else:
            exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
        ran += 1
    assert runner.failures == 0, "".join(told)
    assert ran >= 8
    if "db" in names:
        names["db"].close()


def command(args, cwd, **options):
    line = [sys.executable, "-m", "bitcask", *shlex.split(args)]
    return subprocess.run(line, cwd=cwd, capture_output=True, timeout=60, **options)


def test_the_command_line_is_the_program(tmp_path):
    assert command("--db store set greeting hello", tmp_path).returncode == 0
    assert command("--db store get greeting", tmp_path).stdout == b"hello"
    absent = command("--db store get nothing", tmp_path)
    assert absent.returncode == 1 and b"nothing" in absent.stderr
    wrong = command("--db store no-such-command", tmp_path)
    assert wrong.returncode == 2 and b"no-such-command" in wrong.stderr
    version = command("--version", tmp_path)
    assert version.returncode == 0 and version.stdout == f"bitcask {bitcask.__version__}\n".encode()
    shell = command("--db store shell", tmp_path, input=b"set a 1\nget a\n")
    assert shell.returncode == 0 and shell.stdout.strip() == b"1"


def test_the_script_is_installed(tmp_path):
    script = pathlib.Path(sys.executable).with_name("bitcask")
    ran = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert ran.stdout == f"bitcask {bitcask.__version__}\n"


def test_the_command_line_reads_what_python_wrote(tmp_path):
    with bitcask.Bitcask(tmp_path / "store") as db:
        db["ann"] = {"age": 31}
        db["n"] = 5
        assert command("--db store get ann", tmp_path).stdout == b'{"age":31}'
    assert command("--db store json get ann age", tmp_path).stdout.strip() == b"31"
    assert command("--db store incr n", tmp_path).returncode == 0
    with bitcask.Bitcask(tmp_path / "store") as db:
        assert db["n"] == 6


def test_the_wheel_is_for_all_pythons():
    import importlib.metadata

    wheel = importlib.metadata.distribution("bitcask").read_text("WHEEL")
    if not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled():
        assert "cp39-abi3" in wheel
    assert pathlib.Path(bitcask.__file__).with_name("py.typed").exists()
