"""Writes the table as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.faults.table import MOMENTS, SECTIONS, SERVED, ErrorOutcome, FaultCell
from tests.faults.upstream import Moment

CODES = {
    "upstream_error": "Fitten cannot be reached, broke the connection, or reported an error.",
    "upstream_invalid_response": "Fitten sent no valid answer: a web page, nothing at all, nothing "
    "but heartbeats.",
    "upstream_truncated": "Fitten's answer broke off before its end.",
    "upstream_timeout": "Fitten took longer than `fitten.timeouts` allows.",
    "upstream_too_long": "Fitten's answer was longer than `fitten.max_answer_bytes`.",
    "upstream_repetition": "Fitten's answer was the same loop for a long time "
    "(`fitten.stop_repetition`).",
    "upstream_empty": "The request offered tools, and the model wrote neither text nor a call, "
    "twice.",
    "upstream_rate_limited": "Fitten answered 429. Its `Retry-After` is passed on.",
    "no_account_available": "Without `x-should-retry: false`: every account pauses after "
    "failures. The message says how the last one failed, `Retry-After` says for how long. With "
    "it: Fitten refuses the account, most likely its name or password. Only the operator can "
    "help. The next try is half a minute to an hour away.",
}
_COLUMNS = {
    "login": "login",
    "refresh": "token refresh",
    "models": "model list",
    "version": "completion: version",
    "completion": "completion",
    "before": "chat, before the first piece",
    "second": "the same, with a second account",
    "after": "chat, after the first piece",
}
_INTRODUCTION = """\
# When Fitten fails

This page says what a client gets when Fitten, or the connection to it, fails. It has a row for
each kind of failure and a column for each moment. **The page is generated from the tests**
(`tests/faults/table.py`). They test every cell with a running gateway, streamed and whole, and
chats with both values of `fitten.chat_client`. [accounts.md](accounts.md) says how accounts
pause, and when another account is asked.

## What always holds

- **Before the first piece** an error is an HTTP status and a JSON body, for streams too. The
  exception: if `stream.grace` is over, the status has been sent, and the error is the frame of
  the next paragraph.
- **After the first piece** a stream ends with a frame `data: {"error": {"message", "type",
  "param", "code"}}`. There is no `[DONE]` after it and no `finish_reason` before it. All text
  that came is delivered. An answer that is not streamed gets the status in the table.
- **Anthropic's Messages** (`/v1/messages`) show the same failures in that API's shape: `{"type":
  "error", "error": {"type", "message"}, "request_id"}`, in a stream an event `error`. The type
  follows from the status. 503 with `server_is_overloaded`, or with `no_account_available` that
  passes, has status 529 and type `overloaded_error` there. `x-should-retry` and `Retry-After` are
  the same.
- **In time.** Each call has a time limit. For a completion it is `fitten.completion.timeout` in
  all, for other calls that are not chats `fitten.timeouts.call`. A chat has three limits in
  `fitten.timeouts`. `first_piece` is for everything before its first piece (a login too),
  `between_pieces` for each silence, `answer` for the whole. Newlines and heartbeats count as
  silence.
- **This client.** The client that meets a failure gets an error that says what happened.
- **The next client** gets an answer if the fault has passed. There are three exceptions, and in
  these pauses Fitten is not asked:
  - After 429 and after refused accounts the next client gets the same error.
  - After another failure of the login it gets 503 `no_account_available`, for one second, then
    two, four and so on.
  - It gets that error too after five failures of chats in a row (`fitten.pool.breaker_failures`).
    Failures of the same prompt count once, except where no connection can be opened.
  - A pause that is shorter than `fitten.pool.queue_wait` is no error: the client waits for its end,
    unless Fitten refuses the account.
- **Repeats.** If a connection is lost before Fitten has sent the head of an answer, the call is
  made once more. Most often it was an idle connection that Fitten had just closed. Chats and
  completions are repeated only as long as `fitten.pool.retry_ratio` allows. Apart from this, only
  a renewed token leads to a repeat with the same account. Once a client has had a piece, nothing
  is repeated. The one exception is the repair of an answer with tools (`tools.repair`), which the
  retry ratio does not limit. If such an answer ends within a call, the model is asked to continue
  it; what the client has had stays as it is. If a call cannot be read, the model is asked to write
  it again, but only while nothing of it has been sent. If the answer is empty, the model is asked
  once more. There is at most one repair for an answer, within `fitten.timeouts.answer`.
- **Leftovers.** A connection that failed is closed and carries no other request. No task, no
  socket and no slot of an account is left.
- **Secrecy.** Words, addresses and names from Fitten are never passed on.

"""
_LEGEND = """\
## The table

A cell has a status and a code.

- *final*: `x-should-retry: false` tells the SDKs not to repeat by themselves.
- *2 times*, *up to 3 times*: Fitten is asked that often. A 401 leads to one refresh and one
  login.
- *served*: the client gets an answer, if necessary from the second account. After a token refresh
  that fails there is a login. Without a model list the last one, or a built-in one, is used.
- A dash: this cannot happen at that moment, or is the same as elsewhere in the table.
"""


def document() -> str:
    """Return the text of docs/errors.md."""
    codes = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in CODES.items())
    parts = [
        _INTRODUCTION,
        "## Codes\n\n| Code | What happened |\n|---|---|\n",
        codes,
        "\n",
        _LEGEND,
    ]
    for title, faults in SECTIONS.items():
        parts.append(f"\n### {title}\n\n")
        moments = [moment for moment in MOMENTS if any(_cell(fault, moment) for fault in faults)]
        header = ["What Fitten does", *(_COLUMNS[moment] for moment in moments)]
        parts += [_line(header), "|" + "---|" * len(header) + "\n"]
        parts += [_line([names, *cells]) for names, cells in _rows(faults, moments)]
    return "".join(parts)


def _rows(
    faults: Sequence[FaultCell], moments: Sequence[Moment]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the rows; neighbouring faults with the same outcomes share one."""
    for cells, same in groupby(faults, lambda f: tuple(_cell(f, m) or "–" for m in moments)):
        yield "<br>".join(fault.name for fault in same), cells


def _cell(fault: FaultCell, moment: Moment) -> str:
    outcome = fault.outcome(moment)
    if outcome is None:
        return ""
    if not isinstance(outcome, ErrorOutcome):
        assert outcome == SERVED
        return "served"
    words = [f"{outcome.status} `{outcome.code}`"]
    if not outcome.retryable:
        words.append("final")
    if outcome.calls > 1:
        words.append(f"{'up to ' if outcome.calls > 2 else ''}{outcome.calls} times")
    return ", ".join(words)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
