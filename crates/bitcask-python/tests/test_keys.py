"""Keys: one name in text, one in bytes, for one key."""

import pytest

from bitcask import Bitcask, DecodeError, InvalidError

NOT_TEXT = b"\xff\xfe"


def test_str_and_bytes_name_one_key(db):
    db["\u00fc"] = 1
    assert db["\u00fc".encode()] == 1 and "\u00fc".encode() in db
    db[b"\xc3\xbc"] = 2
    assert db["\u00fc"] == 2 and len(db) == 1
    assert db[bytearray(b"\xc3\xbc")] == 2 and db[memoryview(b"\xc3\xbc")] == 2


def test_keys_come_as_str_where_they_are_utf8(db):
    db["a"], db[b"b"], db[NOT_TEXT], db[""] = 1, 2, 3, 4
    assert dict(db.items()) == {"a": 1, "b": 2, NOT_TEXT: 3, "": 4}
    assert db[NOT_TEXT] == 3 and db[b""] == 4


def test_keys_of_one_type_always(path):
    with Bitcask(path, keys="bytes") as db:
        db["a"], db[NOT_TEXT] = 1, 2
        assert set(db) == {b"a", NOT_TEXT}
    with Bitcask(path, keys="str") as db:
        assert db[NOT_TEXT] == 2
        with pytest.raises(DecodeError, match="UTF-8"):
            list(db)
        del db[NOT_TEXT]
        assert list(db) == ["a"] and list(db.scan("a")) == [("a", 1)]
    with pytest.raises(InvalidError):
        Bitcask(path, keys="int")


@pytest.mark.parametrize("key", [None, 1, 1.5, ("a",), [], object()])
def test_anything_else_is_a_type_error(db, key):
    for call in (
        lambda: db[key],
        lambda: db.get(key),
        lambda: db.put(key, 1),
        lambda: db.delete(key),
        lambda: key in db,
        lambda: db.get_many([key]),
    ):
        with pytest.raises(TypeError, match="keys are str or bytes"):
            call()


def test_half_a_surrogate_pair_is_no_key(db):
    with pytest.raises(UnicodeEncodeError):
        db["\ud800"] = 1


def test_the_length_has_a_limit(db):
    longest = "k" * 65_535
    db[longest] = 1
    assert db[longest] == 1
    for call in (lambda: db.put(longest + "k", 1), lambda: db.delete(longest + "k")):
        with pytest.raises(InvalidError):
            call()
    assert longest + "k" not in db
