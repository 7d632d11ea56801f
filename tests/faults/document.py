"""Writes the table as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.faults.causes import ROWS
from tests.faults.dialects import DIALECTS
from tests.faults.table import MOMENTS, SECTIONS, SERVED, ErrorOutcome, FaultCell
from tests.faults.upstream import Moment

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
# Errors, and when Fitten fails

This page has every error that a client can get, as each API shows it. Then it says which of them a
client gets when Fitten, or the connection to it, fails. That table has a row for each kind of
failure and a column for each moment. **The page is generated from the tests**
(`tests/faults/causes.py` and `table.py`). They test every cell with a running gateway, streamed
and whole. Chats are tested with chat completions, Messages, Responses and Ollama's `/api/chat`, and
chat completions with both values of `fitten.chat_client`.
[accounts.md](accounts.md) says how accounts pause, and when another account is asked.

## What always holds

- **Before the first piece** an error is an HTTP status and a JSON body, for streams too. The
  exception: if `stream.grace` is over, the status has been sent, and the error ends the stream.
- **After the first piece** an error ends the stream, in the form of [its dialect](#the-forms).
  Nothing in the stream looks like a good end. All text that came is delivered. An answer that is
  not streamed gets the status in the table.
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
_ERRORS = """\
## Every error

Clients of the four APIs act on different signs, so one error may have a different status in each.

"""
_ERRORS_LEGEND = """
- A cell has the status and the `type` of the error. Ollama's errors have neither type nor code,
  only a message, which names the field at fault. The column `code` is the `code` of chat
  completions and Responses, where the text of the row says nothing else. It is the `cause` in the
  [log](logs.md) in all dialects. `/v1/completions` and the other routes for code are as chat
  completions; `/api/generate` is as `/api/chat`.
- *Retry* is the header `x-should-retry`: *yes* and *wait* are `true`, *no* is `false`. At
  *wait* `Retry-After` and `retry-after-ms` say how long. Official SDKs and Claude Code obey. A
  wait of more than a minute becomes *no*. *no* never has `Retry-After`.
- Responses have `Retry-After` with *yes* too: one second. Codex reads no other sign. For final it
  takes 400, 404 with `model_not_found`, and a 429 without `Retry-After`.
- A full context has numbers in the tokens that `usage` counts. Messages say `prompt is too long: N
  tokens > M maximum`. The others say `maximum context length is M tokens`.
- 499 `client_closed_request` is in the log only: the client left.

## The forms

"""
_FORMS = (
    "The body of an error",
    "The end of a stream that failed",
    "What it does not have then",
    "The end at the limit of tokens",
)
_FORMS_LEGEND = """
The last column of the table above is the `code` of `response.failed`. `invalid_prompt` is for all
that is final. The message of a 429 names the wait, as `Please try again in 4s.`, where it is known.

"""
_LEGEND = """\
## When Fitten fails: the table

A cell has a code. Its status and type in each dialect are [above](#every-error).

- *final*: the row of that code whose *Retry* is `no`.
- *2 times*, *up to 3 times*: Fitten is asked that often. A 401 leads to one refresh and one
  login.
- *served*: the client gets an answer, if necessary from the second account. After a token refresh
  that fails there is a login. Without a model list the last one, or a built-in one, is used.
- A dash: this cannot happen at that moment, or is the same as elsewhere in the table.
"""


def document() -> str:
    """Return the text of docs/errors.md."""
    parts = [_INTRODUCTION, _ERRORS, *_error_table(), _ERRORS_LEGEND]
    parts += [*_form_table(), _FORMS_LEGEND, _LEGEND]
    for title, faults in SECTIONS.items():
        parts.append(f"\n### {title}\n\n")
        moments = [moment for moment in MOMENTS if any(_cell(fault, moment) for fault in faults)]
        header = ["What Fitten does", *(_COLUMNS[moment] for moment in moments)]
        parts += [_line(header), "|" + "---|" * len(header) + "\n"]
        parts += [_line([names, *cells]) for names, cells in _rows(faults, moments)]
    return "".join(parts)


def _error_table() -> Iterator[str]:
    """Yield the lines of the table of errors: one for each error, a column for each dialect."""
    titles = [_capital(dialect.title) for dialect in DIALECTS]
    header = ["`code`", "What happened", "Retry", *titles, "`response.failed`"]
    yield _line(header)
    yield "|" + "---|" * len(header) + "\n"
    for row in ROWS:
        shown = [_code_after(row.shown.get(dialect.name)) for dialect in DIALECTS]
        failed = f"`{row.failed}`" if row.failed else "–"
        yield _line([f"`{row.code}`", row.meaning, row.retry, *shown, failed])


def _form_table() -> Iterator[str]:
    """Yield the lines of the table of forms: a column for each dialect."""
    yield _line(["", *(_capital(dialect.title) for dialect in DIALECTS)])
    yield "|" + "---|" * (1 + len(DIALECTS)) + "\n"
    for number, form in enumerate(_FORMS):
        yield _line([form, *(dialect.forms[number] for dialect in DIALECTS)])


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _code_after(shown: str | None) -> str:
    """Return a status and a type, the latter as code."""
    status, _, kind = (shown or "–").partition(" ")
    return f"{status} `{kind}`" if kind else status


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
    words = [f"`{outcome.code}`"]
    if not outcome.retryable:
        words.append("final")
    if outcome.calls > 1:
        words.append(f"{'up to ' if outcome.calls > 2 else ''}{outcome.calls} times")
    return ", ".join(words)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
