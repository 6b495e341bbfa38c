"""Dicts that show well: what ``stats``, ``merge``, ``verify`` and others give."""

from __future__ import annotations

import html
from typing import Any, Dict, List


class Report(Dict[str, Any]):
    """A dict whose entries are attributes, too.

    >>> report = Report(is_clean=True, damage=[])
    >>> report["is_clean"], report.is_clean
    (True, True)
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self) -> List[str]:
        return [*super().__dir__(), *self]


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(999), size(2048), size(5 * 2**30)
    ('999 B', '2.0 KiB', '5.0 GiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


class Stats(Report):
    """What ``Bitcask.stats()`` tells. A notebook shows it as a table of files, with their live and dead bytes."""

    def _repr_html_(self) -> str:
        rows = "".join(self._row(file) for file in self["files"])
        total = {"live_bytes": self["live_bytes"], "dead_bytes": self["dead_bytes"]}
        cells = _cells(total)
        memory = size(self["keydir_bytes"] + self["ordered_bytes"])
        caption = f"{self['keys']:,} keys, {size(self['bytes'])} on disk, {memory} of index in memory"
        return (
            "<table>"
            f"<caption>{html.escape(caption)}</caption>"
            "<thead><tr><th>file</th><th></th><th>live bytes</th><th>dead bytes</th><th>dead</th>"
            "<th></th></tr></thead>"
            f"<tbody>{rows}</tbody>"
            f"<tfoot><tr><th>all</th><td></td>{cells}</tr></tfoot>"
            "</table>"
        )

    @staticmethod
    def _row(file: Dict[str, Any]) -> str:
        name = html.escape(file["path"].rsplit("/", 1)[-1])
        kind = "active" if file["active"] else "merged" if file["merged"] else "log"
        return f"<tr><td><code>{name}</code></td><td>{kind}</td>{_cells(file)}</tr>"


def _cells(of: Dict[str, Any]) -> str:
    live, dead = of["live_bytes"], of["dead_bytes"]
    part = dead / (live + dead) if live + dead else 0.0
    bar = (
        '<div style="width:8em;height:0.8em;background:#4a8">'
        f'<div style="float:right;width:{part:.1%};height:100%;background:#c64"></div></div>'
    )
    return f"<td>{live:,}</td><td>{dead:,}</td><td>{part:.1%}</td><td>{bar}</td>"
