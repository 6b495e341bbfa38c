"""Codecs: what each holds, and that none reads what another wrote."""

import collections
import enum
import json
import math
import pickle
import sys

import pytest

import bitcask
from bitcask import Bitcask, CodecError, DecodeError, EncodeError

PAIR = (lambda value: repr(value).encode(), lambda data: eval(data.decode()))
#: A value for each codec, and what its errors call it.
CODECS = {
    "json": ({"a": [1, None]}, "json", "json"),
    "bytes": (b"\x00\xff", "bytes", "bytes"),
    "str": ("gr\u00fc\u00df", "str", "str"),
    "msgpack": ({"a": b"b"}, "msgpack", "msgpack"),
    "pickle": ({1, 2}, "pickle", "pickle"),
    "pair": ((1, 2), PAIR, "pair of functions"),
}


@pytest.mark.parametrize("name", CODECS)
def test_each_gives_back_what_it_took(path, name):
    value, codec, _ = CODECS[name]
    for _ in range(2):
        with Bitcask(path, codec=codec) as db:
            db["k"] = value
            assert db["k"] == value and type(db["k"]) is type(value)
            assert list(db.values()) == [value] and db.get_many(["k"]) == [value]


@pytest.mark.parametrize("reader", CODECS)
@pytest.mark.parametrize("writer", CODECS)
def test_none_reads_what_another_wrote(path, writer, reader):
    value, codec, named = CODECS[writer]
    with Bitcask(path, codec=codec) as db:
        db["the key"] = value
    with Bitcask(path, codec=CODECS[reader][1]) as db:
        if writer == reader or (writer, reader) == ("bytes", "json"):
            assert db["the key"] == value
            return
        for read in (
            lambda: db["the key"],
            lambda: db.get("the key"),
            lambda: db.pop("the key"),
            lambda: db.get_many(["the key"]),
            lambda: list(db.items()),
            lambda: db.snapshot()["the key"],
        ):
            with pytest.raises(DecodeError) as e:
                read()
            assert "the key" in str(e.value) and named in str(e.value)
        assert "the key" in db, "what cannot be read is not popped"


def test_raw_is_exactly_the_bytes(path):
    with Bitcask(path, codec="json") as db:
        db["k"] = {"a": 1}
        db["b"] = b"x"
    with Bitcask(path, codec="raw") as db:
        assert db["k"] == b'{"a":1}' and db["b"] == b"\x01x"
        db["j"] = b' [1, 2]\n'
        db["bad"] = b"hello"
        db["empty"] = b""
        db["not text"] = b"\xff"
    with Bitcask(path, codec="json") as db:
        assert db["j"] == [1, 2]
        for key in ("bad", "empty", "not text"):
            with pytest.raises(DecodeError, match="raw"):
                db[key]
    with Bitcask(path, codec="pickle") as db, pytest.raises(DecodeError, match="raw"):
        db["empty"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63,
        -(2**200),
        0.1,
        -0.0,
        1e16,
        1e300,
        5e-324,
        123456789.123456789,
        "",
        'quotes " and \\ and / and \x00\x1f\x7f\n\r\t\b\f',
        "\u00fc \u20ac \U0001f600",
        "\ud800",
        [],
        {},
        [[], [{}], {"": []}],
        {"name": "test", "values": [1, 2, 3]},
        {"\u00fc": "\u2028\u2029", '"': 1},
        ["x" * 100_000],
    ],
)
def test_json_holds_what_json_can(db, value):
    db["k"] = value
    assert db["k"] == value and repr(db["k"]) == repr(value)


def test_json_is_stored_as_its_text(path):
    value = {"b": [1, 2.5, True, None], "a": "\u00fc\n"}
    with Bitcask(path) as db:
        db["k"] = value
    with Bitcask(path, codec="raw") as db:
        assert db["k"].decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)), bytearray(b"ab"), memoryview(b"c")])
def test_bytes_stay_bytes(db, data):
    db["k"] = data
    assert db["k"] == bytes(data) and type(db["k"]) is bytes


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    pass


def test_json_takes_subclasses_for_what_they_are(db):
    moved = collections.OrderedDict(a=1, b=2)
    moved.move_to_end("a")
    db["k"] = {"o": moved, "d": collections.defaultdict(list, x=[1]), "n": Name("n"), "e": Colour.RED}
    assert db["k"] == {"o": {"b": 2, "a": 1}, "d": {"x": [1]}, "n": "n", "e": 1}
    assert list(db["k"]["o"]) == ["b", "a"]
    db["t"] = (1, (2, 3))
    assert db["t"] == [1, [2, 3]]


@pytest.mark.parametrize(
    "value, place",
    [
        ({1, 2}, "set"),
        (object(), "object"),
        (math.nan, "NaN"),
        ([1, math.inf], "[1]"),
        ({"a": {"b": [0, {3}]}}, "['a']['b'][1]"),
        ({1: "a"}, "the key 1"),
        ({"x": {None: 1}}, "the key None"),
        ({b"a": 1}, "the key b'a'"),
        ([b"bytes within"], "bytes"),
        (1j, "complex"),
    ],
)
def test_what_json_cannot_hold_is_an_error_with_its_place(db, value, place):
    db["k"] = "as it was"
    with pytest.raises(EncodeError) as e:
        db["k"] = value
    assert place in str(e.value) and '"k"' in str(e.value) and '"json"' in str(e.value)
    assert isinstance(e.value, (CodecError, ValueError)) and isinstance(e.value, TypeError)
    assert db["k"] == "as it was"


def test_a_value_within_itself_is_an_error(db):
    ring = []
    ring.append(ring)
    with pytest.raises(EncodeError, match="within itself"):
        db["k"] = ring
    deep = []
    for _ in range(499):
        deep = [deep]
    db["k"] = deep
    assert db["k"] == deep


def test_numbers_that_are_no_json_are_not_read(path):
    with Bitcask(path, codec="raw") as db:
        db["n"], db["two"] = b"NaN", b"1 2"
    with Bitcask(path) as db:
        for key in ("n", "two"):
            with pytest.raises(DecodeError):
                db[key]


def test_the_others_take_their_own_only(path):
    for codec, wrong in (("bytes", "text"), ("str", b"bytes"), ("raw", "text"), ("bytes", None)):
        with Bitcask(path, codec=codec) as db:
            with pytest.raises(EncodeError, match=codec):
                db["k"] = wrong
            assert "k" not in db


def test_what_a_function_raises_is_the_cause(path):
    with Bitcask(path, codec="pickle") as db:
        with pytest.raises(EncodeError) as e:
            db["k"] = lambda: 0
        assert isinstance(e.value.__cause__, (pickle.PicklingError, AttributeError))
    with Bitcask(path, codec=(lambda value: "text", str)) as db:
        with pytest.raises(EncodeError, match="str, not bytes"):
            db["k"] = 1

    def broken(data):
        raise KeyError("inner")

    with Bitcask(path, codec=(lambda value: b"x", broken)) as db:
        db["k"] = 1
        with pytest.raises(DecodeError, match="inner") as e:
            db["k"]
        assert isinstance(e.value.__cause__, KeyError)


def test_an_interrupt_in_a_function_is_no_error_of_the_codec(path):
    def interrupted(value):
        raise KeyboardInterrupt

    with Bitcask(path, codec=(interrupted, interrupted)) as db:
        with pytest.raises(KeyboardInterrupt):
            db["k"] = 1


def test_a_codec_may_use_the_store_itself(path):
    stores = []

    def loads(data):
        return data.decode(), stores[0].get("other") if data == b"outer" else None

    with Bitcask(path, codec=(str.encode, loads)) as db:
        stores.append(db)
        db["k"], db["other"] = "outer", "inner"
        assert db["k"] == ("outer", ("inner", None))
        assert dict(db.items())["k"] == ("outer", ("inner", None))
        iterator = iter(db.values())
        stores[0] = {"other": iterator}
        assert len(list(iterator)) == 2


@pytest.mark.parametrize("codec", ["yaml", "pair", "", None, 1, (str,), (1, 2), (str, str, str)])
def test_a_codec_that_is_none_is_refused_at_once(path, codec):
    with pytest.raises((bitcask.InvalidError, TypeError), match="codec"):
        Bitcask(path, codec=codec)
    assert not path.exists()


def test_msgpack_that_is_not_installed_is_told(path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(ModuleNotFoundError, match="pip install msgpack"):
        Bitcask(path, codec="msgpack")


@pytest.mark.parametrize("codec", ["json", "raw", "pickle", "msgpack", PAIR])
def test_incr_works_with_any_codec_that_holds_numbers(path, codec):
    with Bitcask(path, codec=codec) as db:
        assert [db.incr("n"), db.incr("n", 41), db.incr("n", -2)] == [1, 42, 40]
        assert db["n"] == (b"40" if codec == "raw" else 40)
        db["text"] = b"text" if codec == "raw" else "text"
        with pytest.raises(ValueError):
            db.incr("text")


def test_json_halves_of_a_surrogate_pair_stay_halves(db):
    for half in ("\ud83d", "\ude00", "\ude00\ud83d", "a\ud83db\ude00"):
        db["k"] = [half, {half: 1}]
        assert db["k"] == [half, {half: 1}]
    for value in ("\ud83d\ude00", ["x\ud83d\ude00y"], {"\ud83d\ude00": 1}):
        with pytest.raises(EncodeError, match="surrogate"):
            db["pair"] = value
    assert "pair" not in db


def test_json_of_a_dict_that_is_changed_meanwhile_is_refused(db):
    class Meddler(dict):
        def items(self):
            outer["new"] = 1
            return []

    outer = {"a": Meddler(), "b": 2}
    with pytest.raises(EncodeError, match="changed"):
        db["k"] = outer
    assert "k" not in db


def test_who_calls_from_too_deep_is_told_that(db):
    value = []
    for _ in range(100):
        value = [value]
    db["k"] = value
    limit = sys.getrecursionlimit()
    depth, frame = 0, sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + 50)
    try:
        # Python 3.12 and later do not count what is C.
        assert db["k"] == value
    except RecursionError:
        pass
    finally:
        sys.setrecursionlimit(limit)
