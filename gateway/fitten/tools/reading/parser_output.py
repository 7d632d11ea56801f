"""Collects the pieces that the parser passes on: text, and calls that are new. No I/O."""

from __future__ import annotations

import json

from gateway.fitten.tools.reading.interpretation import ParsedCall
from gateway.generation.pieces import Kind, Piece

PIECE = 128
"""The most characters of arguments in one piece."""

_MAX_BLANK = 4096


class ParserOutput:
    """Collects pieces until they are taken.

    parallel: whether an answer may have several calls. If not, only the first is passed on.

    calls: how many calls there were, also those that are not passed on.
    blank: white space at the start or behind a call. It is passed on only if text follows. None
        after text.
    """

    def __init__(self, *, parallel: bool) -> None:
        self._parallel = parallel
        self._pieces: list[Piece] = []
        self._text: list[str] = []
        self._seen: set[tuple[str, str]] = set()
        self.blank: str | None = ""
        self.calls = 0

    def take(self) -> list[Piece]:
        """Return the pieces since the last call of this method."""
        self.end_text()
        pieces, self._pieces = self._pieces, []
        return pieces

    def add(self, piece: Piece) -> None:
        """Pass on a piece that is no content."""
        self._pieces.append(piece)

    def add_text(self, text: str) -> None:
        """Pass on text."""
        if self.blank is not None:
            self.blank += text
            if text.isspace() and len(self.blank) <= _MAX_BLANK:
                return
            text, self.blank = self.blank, None
        self._text.append(text)

    def drop_text(self) -> None:
        """Leave out the text since the last piece."""
        self._text = []

    def end_text(self) -> None:
        """Make one piece of the text since the last piece."""
        if self._text:
            self._pieces.append(("content", "".join(self._text)))
            self._text = []

    def end(self) -> None:
        """Pass on the white space of an answer that has nothing else."""
        if self.blank and not self.calls:
            self._text.append(self.blank)
        self.blank = None

    @property
    def leaves_out_call(self) -> bool:
        """Return whether the last call is one too many, so that it is not passed on."""
        return self.calls > 1 and not self._parallel

    def add_part(self, kind: Kind, text: str) -> None:
        """Pass on a part of a call that comes in parts; the first part is its name."""
        if kind == "call":
            self.calls += 1
            self.end_text()
        if not self.leaves_out_call:
            self._pieces.append((kind, text))

    def add_call(self, call: ParsedCall) -> None:
        """Pass on a whole call, unless it repeats an earlier one."""
        canonical = json.dumps(json.loads(call.arguments), sort_keys=True)
        if (call.name, canonical) in self._seen or (self.calls and not self._parallel):
            return
        self._seen.add((call.name, canonical))
        self.calls += 1
        self.end_text()
        self._pieces.append(("call", call.name))
        for start in range(0, len(call.arguments), PIECE):
            self._pieces.append(("arguments", call.arguments[start : start + PIECE]))
