"""The table as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.faults.table import MOMENTS, SECTIONS, SERVED, FaultCell, Told
from tests.faults.upstream import Moment

CODES = {
    "upstream_error": "Fitten cannot be reached, broke the connection, or reported an error.",
    "upstream_invalid_response": "Fitten answered with what is no answer: a web page, nothing at "
    "all, nothing but heartbeats.",
    "upstream_truncated": "Fitten's answer broke off before its end.",
    "upstream_timeout": "Fitten took longer than `fitten.timeouts` allows.",
    "upstream_too_long": "Fitten's answer went over `fitten.max_answer_bytes`.",
    "upstream_repetition": "Fitten's answer was the same loop for a long time "
    "(`fitten.stop_repetition`).",
    "upstream_rate_limited": "Fitten answered 429. Its `Retry-After` is passed on.",
    "no_account_available": "Without `x-should-retry: false`: every account pauses after "
    "failures; the message says how the last one failed, `Retry-After` for how long. With it: "
    "Fitten refuses the account, most likely for its name or password. Only the operator can "
    "help; the next try is half a minute to an hour away.",
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

What a caller is told for each way in which Fitten, or the road to it, can fail, at each moment
where it can. **This page is written from the tests** (`tests/faults/table.py`); they play every
cell against a running gateway, streamed and whole, and chats with either `fitten.chat_client`.
How accounts pause, and when another is asked, is in [accounts.md](accounts.md).

## What always holds

- Before the first piece an error is an HTTP status and a JSON body, for streams too, unless
  `stream.grace` is over: then it is the frame below, since the status has been sent.
- After the first piece a stream ends with a frame `data: {"error": {"message", "type", "param",
  "code"}}`. Neither `[DONE]` nor a `finish_reason` follows or precedes it. All text that came is
  delivered. An answer that is not streamed gets the status in the table.
- Every failure is told in time. Each call but a chat has `fitten.timeouts.call`, a completion
  `fitten.completion.timeout` in all; a chat has `first_piece` for all that precedes its first
  piece (a login too), `between_pieces` for each silence, `answer` for the whole. Newlines and
  heartbeats are silence.
- Whoever meets a failure is told what happened. The next caller is served if the fault has passed;
  except after 429 and refused accounts, when it is told the same, and after another failure of the
  login, when it is told 503 `no_account_available` for a second, then two, four and so on. After
  five failures of chats in a row (`fitten.pool.breaker_failures`) it is told that too. In such a
  pause Fitten is not asked.
- A call whose connection is lost before Fitten has sent the head of an answer is made once more,
  since most often the connection was an idle one that Fitten had just closed; chats and completions
  as long as `fitten.pool.retry_ratio` allows. Nothing is repeated after that with the same account,
  but for a renewed token, and nothing at all once a caller has had a piece.
- A connection that failed is closed and carries no other request; no task, no socket and no slot of
  an account is left.
- Words, addresses and names of Fitten's are never passed on.

"""
_LEGEND = """\
## The table

A status with its code; *final* where `x-should-retry: false` tells the SDKs not to repeat by
themselves; *2 times*, *up to 3 times* where an account is asked that often (a 401 is worth one
refresh and one login). *Served*: the caller gets an answer, if need be from the second account. A
token refresh that fails is followed by a login; without a model list the last one, or a built-in
one, is used. A dash: cannot happen then, or is the same as elsewhere in the table.
"""


def document() -> str:
    """docs/errors.md."""
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
    """Neighbours with the same outcomes share a row."""
    for cells, same in groupby(faults, lambda f: tuple(_cell(f, m) or "–" for m in moments)):
        yield "<br>".join(fault.name for fault in same), cells


def _cell(fault: FaultCell, moment: Moment) -> str:
    outcome = fault.outcome(moment)
    if outcome is None:
        return ""
    if not isinstance(outcome, Told):
        assert outcome == SERVED
        return "served"
    words = [f"{outcome.status} `{outcome.code}`"]
    if not outcome.again:
        words.append("final")
    if outcome.calls > 1:
        words.append(f"{'up to ' if outcome.calls > 2 else ''}{outcome.calls} times")
    return ", ".join(words)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
