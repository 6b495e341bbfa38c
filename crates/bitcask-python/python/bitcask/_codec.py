"""The functions behind each codec. Which byte stands before what is stored is the extension's part."""

from __future__ import annotations

import json as _json
from typing import Any, Callable, NoReturn, Tuple, Union

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]
#: What can be said for ``codec=``.
Codec = Union[str, Tuple[Dumps, Loads]]

NAMES = ("json", "bytes", "str", "msgpack", "pickle", "raw")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


#: Half of ``json.loads``: the half that does the work.
_scan_json = _json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]


def resolve(codec: Codec) -> tuple[str, Any, Any]:
    """The name that the extension knows a codec by, and its two functions, if it has some."""
    if isinstance(codec, tuple):
        if len(codec) != 2 or not all(callable(function) for function in codec):
            raise TypeError("a codec that is a tuple is a pair of functions, (dumps, loads)")
        return "pair", codec[0], codec[1]
    if not isinstance(codec, str):
        raise TypeError("codec is a name or a pair of functions, (dumps, loads)")
    if codec == "json":
        return codec, None, _scan_json
    if codec == "pickle":
        import pickle

        def dumps(value: Any) -> bytes:
            # A version that all Pythons have that this package runs on.
            return pickle.dumps(value, protocol=5)

        return codec, dumps, pickle.loads
    if codec == "msgpack":
        return (codec, *_msgpack())
    if codec in NAMES:
        return codec, None, None
    from .errors import InvalidError

    names = ", ".join(f'"{name}"' for name in NAMES)
    raise InvalidError(f"codec is one of {names}, or a pair of functions, not {codec!r}")


def _msgpack() -> tuple[Dumps, Loads]:
    try:
        import msgpack  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as e:
        text = 'codec="msgpack" needs the package msgpack: pip install msgpack'
        raise ModuleNotFoundError(text, name="msgpack") from e

    def dumps(value: Any) -> bytes:
        packed: bytes = msgpack.packb(value, use_bin_type=True)
        return packed

    def loads(data: bytes) -> Any:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)

    return dumps, loads
