"""Runs the command replay: reads a recorded answer again, and prints what came out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal, TextIO

from gateway.fitten.tools.record import MAX_RECORD, AnswerRecord, BadRecord, decode_record
from gateway.redaction import os_error_text, printable
from gateway.replay.reader import Reading, is_cut, read_record
from gateway.replay.test_case import file_name, write_test_case
from gateway.store.record_files import read_record_file

Form = Literal["text", "json", "test"]

_FAILED = 1
_USAGE_ERROR = 2


def run(path: Path, form: Form) -> int:
    """Print what this version reads in a recorded answer; return the exit status.

    It is 2 for a file that is no record, and 1 if reading the answer fails.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_fail(stream)
    shown = printable(str(path))
    try:
        record = decode_record(read_record_file(path, MAX_RECORD))
    except OSError as error:
        print(f"{shown} cannot be read: {os_error_text(error)}", file=sys.stderr)
        return _USAGE_ERROR
    except BadRecord as error:
        print(f"{shown} {printable(str(error))}", file=sys.stderr)
        return _USAGE_ERROR
    try:
        reading = read_record(record)
        text = _PRINTED[form](record, reading)
    except Exception as error:  # a bug in the reader is what a record may be about
        print(f"{shown}: reading the answer fails: {type(error).__name__}", file=sys.stderr)
        return _FAILED
    print(text.rstrip("\n"))
    if form == "test":
        print(f"Save it as {file_name(record)}", file=sys.stderr)
    return 0


def _never_fail(stream: TextIO) -> None:
    """Let a stream escape what its encoding does not have."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _as_json(record: AnswerRecord, reading: Reading) -> str:
    data = {
        "time": record.time,
        "request_id": record.request_id,
        "key": record.key,
        "model": record.model,
        "reasons": record.reasons,
        "then": {"came_out": record.came_out, "finish_reason": record.finish_reason},
        "now": {
            "pieces": _joined(reading),
            "finish_reason": reading.finish_reason,
        },
        "same": reading.same,
    }
    # Only printable ASCII, so that no text can move a cursor.
    return json.dumps(data, indent=2).replace("\x7f", "\\u007f")


def _as_text(record: AnswerRecord, reading: Reading) -> str:
    error = f" ({record.error})" if record.error else ""
    lines = [
        f"kept because: {', '.join(record.reasons)}{error}",
        f"request {record.request_id or '-'} of {record.key} at {record.time}, "
        f"model {record.model}, notation {record.notation}, "
        f"tools: {', '.join(tool.name for tool in record.tools) or 'none'}",
    ]
    if record.masked:
        lines.append("Secrets were masked, so lengths are not compared.")
    if is_cut(record):
        lines.append("The middle of the answer is missing, so it may be read differently.")
    if record.schemas_left_out:
        lines.append("The schemas of the tools were too large, so arguments are not converted.")
    if record.stop_strings:
        lines.append("The client sent stop strings, which are not recorded.")
    lines = [printable(line) for line in lines]
    for kind, text in _joined(reading):
        if kind == "call":
            lines.append(f"call {printable(text)}")
        else:
            lines.append("text" if kind == "content" else kind)
            lines += [f"  | {printable(line)}" for line in text.split("\n")]
    then = ", ".join(f"{kind} {value}" for kind, value in record.came_out) or "nothing"
    then = printable(f"{then}; finish reason {record.finish_reason or 'none'}")
    lines += [f"finish reason {reading.finish_reason}", f"then: {then}"]
    lines.append("same" if reading.same else "differs")
    return "\n".join(lines)


def _joined(reading: Reading) -> list[tuple[str, str]]:
    """Return the pieces, those of one text or call joined."""
    joined: list[tuple[str, str]] = []
    for kind, text in reading.pieces:
        if kind != "call" and joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return joined


_PRINTED = {"json": _as_json, "text": _as_text, "test": write_test_case}
