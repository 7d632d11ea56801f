"""Serves code completion: the version call, and the full form that knows each file's last text.

A request with `edit_mode` gets lines that replace others, in place of a text to insert.

The text may say what to answer, as `[[complete text=... ex=... delta_char=1]]`; values are
percent-encoded. `status=503`, `error=...`, `delay=0.2` and `raw=...` (a whole body) are failures.
Without a marker the emulator completes with the word `completed()`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from emulator.accounts import EmulatedAccount
from emulator.calls import WrittenCall
from emulator.errors import detail, missing_field
from emulator.state import EmulatorState

PATH = re.compile(r"/codeapi/completion(|2_[123])/generate_one_stage_auth/([^/]+)")
_MARKER = re.compile(r"\[\[complete((?:[ ]+[a-z_]+=[^\s\[\]]*)*)[ ]*\]\]")
_VERSIONS = {"0": "", "1": "2_1", "2": "2_2", "3": "2_3"}
_POSITIONS = ("cpos", "bcpos", "plen", "slen", "bplen", "bslen")


async def completion_version(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.Response:
    """Return a JSON string whose number names the path to use; `ft_token` in, no bearer needed."""
    account = state.accounts.identified(call.query.get("ft_token", ""))
    if account is not None and "version_needs_bearer" in account.scenarios:
        state.bearer(call, "access")
    return web.json_response(state.completion_version)


async def complete(
    state: EmulatorState, request: web.Request, call: WrittenCall
) -> web.StreamResponse:
    """Complete a file: its text, or the difference from its last text, in; a suggestion out."""
    path = PATH.fullmatch(call.path)
    if path is None or path[1] != _VERSIONS.get(state.completion_version, ""):
        return detail(404, "Not Found")
    account = state.bearer(call, "access")
    if path[2] != account.user_id:
        return detail(403, "user id does not match the token (made up)")
    if call.headers.get("Content-Encoding") != "gzip":
        return detail(400, "the body must be gzip (made up)")
    meta = call.body.get("meta_datas") if isinstance(call.body, dict) else None
    if not isinstance(meta, dict):
        return missing_field("meta_datas")
    text = _text(state, account, meta)
    if isinstance(text, web.Response):
        return text
    state.keep_text(account.user_id, str(meta.get("filename")), text)
    wanted = await read_marker(state, text)
    if isinstance(wanted, web.Response):
        return wanted
    if meta.get("edit_mode") == "true":
        return _edit(state, wanted, text, meta["cpos"])
    return suggestion(state, wanted)


async def read_marker(state: EmulatorState, text: str) -> dict[str, str] | web.Response:
    """Return what the marker in a text asks for, after its delay; a response if it is a failure."""
    marker = _MARKER.search(text)
    wanted = {}
    if marker:
        for word in marker[1].split():
            name, _, value = word.partition("=")
            wanted[name] = unquote(value)
    await state.pause(float(wanted.get("delay", 0)))
    if "status" in wanted:
        return detail(int(wanted["status"]), "failed (made up)")
    if "error" in wanted:
        return web.json_response({"error": wanted["error"]})
    if "raw" in wanted:
        return web.Response(text=wanted["raw"], content_type="application/json")
    return wanted


def suggestion(state: EmulatorState, wanted: dict[str, str], end: str = "") -> web.Response:
    """Return the answer with a text to insert; `end` is put behind the generated text."""
    answer = {
        "generated_text": wanted.get("text", "" if "ex" in wanted else "completed()") + end,
        "ex_msg": wanted.get("ex", ""),
        "delta_char": int(wanted.get("delta_char", 0)),
        "delta_line": int(wanted.get("delta_line", 0)),
        "server_request_id": _request_id(state),
    }
    return web.json_response(answer)


def _edit(state: EmulatorState, wanted: dict[str, str], text: str, cpos: int) -> web.Response:
    """The answer of edit mode: the line of the cursor with the new text in it, or nothing.

    What the offsets count is not known; here it is UTF-16 units of `generated_text`.
    """
    new = wanted.get("text", "completed()")
    before = _decoded(text.encode("utf-16-le")[: 2 * cpos])
    head = before.rpartition("\n")[2]
    tail = text[len(before) :].partition("\n")[0]
    start = _units(head)
    answer = {
        "generated_text": head + new + tail if new else "",
        "delete_offsets": [],
        "insert_offsets": [[start, start + _units(new)]] if new else [],
        "ori_start_line": 0,
        "ori_end_line": 0,
        "res_start_line": 0,
        "res_end_line": new.count("\n"),
        "server_request_id": _request_id(state),
    }
    return web.json_response(answer)


def _request_id(state: EmulatorState) -> str:
    state.completions += 1
    return f"1760000000.1234567.{state.completions:06d}"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text(
    state: EmulatorState, account: EmulatedAccount, meta: dict[str, Any]
) -> str | web.Response:
    """The whole text that a request means; every number it gives must add up."""
    if any(type(meta.get(name)) is not int for name in _POSITIONS):
        return missing_field("meta_datas.cpos")
    known = ""
    if meta.get("pmd5"):
        known = state.text(account.user_id, str(meta.get("filename"))) or ""
        if _md5(known) != meta["pmd5"]:
            if state.unknown_text == "empty":
                return web.json_response({"generated_text": "", "ex_msg": ""})
            return web.json_response({"error": "the previous text is not known (made up)"})
    old = known.encode("utf-16-le")
    head, tail = old[: 2 * meta["plen"]], old[len(old) - 2 * meta["slen"] :]
    text = _decoded(head) + str(meta.get("diff")) + _decoded(tail)
    before = _decoded(text.encode("utf-16-le")[: 2 * meta["cpos"]])
    wrong = {
        "bplen": len(_decoded(head).encode()) != meta["bplen"],
        "bslen": len(_decoded(tail).encode()) != meta["bslen"],
        "bcpos": len(before.encode()) != meta["bcpos"],
        "nmd5": _md5(text) != meta.get("nmd5"),
    }
    if any(wrong.values()):
        names = ", ".join(name for name, is_wrong in wrong.items() if is_wrong)
        return web.json_response({"error": json.dumps(f"{names} do not add up (made up)")})
    return text


def _decoded(data: bytes) -> str:
    return data.decode("utf-16-le", "replace")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
