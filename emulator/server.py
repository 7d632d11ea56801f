"""Runs the emulator as a server: start and end, dispatch, record of calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from emulator.accounts import AccountBook, EmulatedAccount, TokenKind
from emulator.calls import CallLog, WrittenCall
from emulator.control import PREFIX, control
from emulator.endpoints import completion, counters, legacy_login, simple_completion, third_party
from emulator.endpoints.chat import chat, chat_without_login
from emulator.endpoints.login import (
    get_notifications,
    login,
    refresh_access_token,
    refresh_refresh_token,
    user_info,
)
from emulator.endpoints.models import DEFAULT_MODELS, models
from emulator.errors import detail
from emulator.raw_answer import AlreadySent
from emulator.state import EmulatorState, Endpoint
from emulator.tokens import EmulatorClock, TokenRefused, TokenSigner

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/codeuser/auth/login"): login,
    ("POST", "/codeuser/auth/refresh_access_token"): refresh_access_token,
    ("POST", "/codeuser/auth/refresh_refresh_token"): refresh_refresh_token,
    ("GET", "/codeuser/user_info"): user_info,
    ("POST", "/codeuser/get_notifications"): get_notifications,
    ("POST", "/codeapi/chat_auth"): chat,
    ("GET", "/codeapi/chat/models"): models,
    ("GET", "/codeuser/get_completion_version"): completion.completion_version,
    ("POST", "/codeuser/login"): legacy_login.login,
    ("GET", "/codeuser/get_ft_token"): legacy_login.get_ft_token,
    ("POST", "/codeuser/auth/auto_login"): legacy_login.auto_login,
    ("GET", "/codeuser/fb_sign_in"): third_party.sign_in,
    ("GET", "/codeuser/fb_check_login_auth"): third_party.check_sign_in,
    ("POST", "/codeapi/chat"): chat_without_login,
    ("GET", "/codeuser/click_count"): counters.count,
    ("GET", "/codeuser/statistic_log"): counters.count,
    ("POST", "/codeapi/chat/feedback"): counters.count,
    ("GET", "/codeuser/pc_check_auth"): counters.pc_check_auth,
    ("GET", "/codeuser/gray_test"): counters.gray_test,
}

# Those whose path has a part that varies.
PATTERNS: tuple[tuple[str, re.Pattern[str], Endpoint], ...] = (
    ("POST", completion.PATH, completion.complete),
    ("POST", simple_completion.PATH, simple_completion.complete),
    ("POST", simple_completion.ACCEPT_PATH, simple_completion.accept),
)

# Released clients send a doubled or a full-width question mark, and a doubled slash.
_QUESTION_MARK = re.compile(r"\?|\uff1f|%EF%BC%9F", re.IGNORECASE)
_MAX_BODY = 64 * 1024 * 1024


class Emulator:
    """Runs Fitten Code on a socket of this machine.

        async with Emulator(accounts=[Account("demo_user", "correct horse")]) as emulator:
            ...  # send requests to emulator.url, read emulator.calls

    host, port: where to listen; port 0 takes any free one.
    accounts: who may log in; by default demo_user with the password "correct horse".
    access_ttl, refresh_ttl: lifetimes of issued tokens in seconds.
    pace: seconds between the pieces of the default answer.
    slow: seconds the `*_slow` account scenarios wait.
    models: the answer of the model list.
    max_inputs_chars: longer prompts are refused with 413; None takes any.
    completion_version: which version of code completion is served, "0" to "3".
    unknown_text: what a difference from a text that is not known gets, an error object or no
        suggestion; what the service does is not known.
    match_user_id: refuse chats whose ft_token/apikey is not the account's user id.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        accounts: Iterable[EmulatedAccount] | None = None,
        access_ttl: float = 86400.0,
        refresh_ttl: float = 30 * 86400.0,
        pace: float = 0.0,
        slow: float = 2.0,
        models: dict[str, Any] | None = None,
        max_inputs_chars: int | None = None,
        match_user_id: bool = False,
        completion_version: str = "1",
        unknown_text: Literal["error", "empty"] = "error",
    ) -> None:
        people = [EmulatedAccount("demo_user", "correct horse")] if accounts is None else accounts
        lifetimes: dict[TokenKind, float] = {
            "access": access_ttl,
            "refresh": refresh_ttl,
            "user": refresh_ttl,
        }
        self.clock = EmulatorClock()
        self._accounts = AccountBook(people, TokenSigner(), self.clock, lifetimes)
        self._state = EmulatorState(
            accounts=self._accounts,
            clock=self.clock,
            calls=CallLog(),
            models=DEFAULT_MODELS if models is None else models,
            lifetimes=lifetimes,
            pace=pace,
            slow=slow,
            max_inputs_chars=max_inputs_chars,
            match_user_id=match_user_id,
            completion_version=completion_version,
            unknown_text=unknown_text,
        )
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._stopping = False

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(_allow_origin)
        self._stopping = False
        # Without handler_cancellation a client's departure shows only at the next write.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """End all answers under way and stop listening."""
        if self._runner is not None:
            self._stopping = True
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """Return the base URL, without a slash at its end."""
        if self._runner is None:
            raise RuntimeError("the emulator is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def change_slow(self, seconds: float) -> None:
        """Set how many seconds the `*_slow` scenarios take from now on."""
        self._state.slow = seconds

    @property
    def pauses(self) -> int:
        """Return how many pauses are under way."""
        return self._state.pauses

    def release(self) -> None:
        """End the pauses under way: those of `[[slow]]`, of `*_slow` and of `delay`."""
        self._state.release()

    def forget_texts(self) -> None:
        """Forget the texts that code completion remembers, as a restart of the service would."""
        self._state.texts.clear()

    def change_completion_version(self, version: str) -> None:
        """Take completions in this form from now on, and in no other."""
        self._state.completion_version = version

    @property
    def calls(self) -> CallLog:
        """Return the calls received so far, oldest first."""
        return self._state.calls

    def calls_to(self, prefix: str) -> list[WrittenCall]:
        """Return the calls whose path begins with `prefix`."""
        return self._state.calls.to(prefix)

    def account(self, username: str) -> EmulatedAccount:
        """Return the account of that user name; KeyError if there is none."""
        account = self._accounts.named(username)
        if account is None:
            raise KeyError(username)
        return account

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await control(self._state, request)
        path, query = read_target(request.raw_path)
        now = asyncio.get_running_loop().time()
        call = WrittenCall(request.method, path, query, request.headers, now)
        self._state.calls.append(call)
        try:
            self._state.calls.add_body(call, await request.read())
            response = await self._respond(request, call)
            await _send(request, call, response)
        except ConnectionError:
            # Raised by a write that met the closed connection before the cancellation came;
            # nothing to answer, and nothing worth a traceback in the server's log.
            self._left(call)
            return AlreadySent()
        except asyncio.CancelledError:
            self._left(call)
            raise
        call.done.set()
        return response

    def _left(self, call: WrittenCall) -> None:
        if not call.done and not self._stopping:
            call.closed.set()

    async def _respond(self, request: web.Request, call: WrittenCall) -> web.StreamResponse:
        if call.method == "OPTIONS":
            return _preflight(call)
        endpoint = _endpoint(call)
        if endpoint is None:
            return detail(404, "Not Found")
        try:
            return await endpoint(self._state, request, call)
        except TokenRefused as problem:
            return detail(401, str(problem))


def _endpoint(call: WrittenCall) -> Endpoint | None:
    fixed = ENDPOINTS.get((call.method, call.path))
    varying = (
        endpoint
        for method, pattern, endpoint in PATTERNS
        if method == call.method and pattern.fullmatch(call.path)
    )
    return fixed or next(varying, None)


def _preflight(call: WrittenCall) -> web.Response:
    """The answer to a browser that asks what another origin may send; the same for any path."""
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": call.headers.get("Access-Control-Request-Headers", "*"),
        "Access-Control-Max-Age": "600",
    }
    return web.Response(headers=headers)


async def _allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    if "Origin" in request.headers:
        response.headers["Access-Control-Allow-Origin"] = "*"


async def _send(request: web.Request, call: WrittenCall, response: web.StreamResponse) -> None:
    # The server would send it after the handler returned; done here, the record can tell
    # a complete answer from one the client did not wait for.
    if isinstance(response, web.Response):
        call.status = response.status
        call.bytes_sent = len(response.body) if isinstance(response.body, bytes) else 0
    await response.prepare(request)
    await response.write_eof()


def read_target(target: str) -> tuple[str, dict[str, str]]:
    """Return path and query of a request target; corrects known mistakes of released clients."""
    path, *rest = _QUESTION_MARK.split(target, maxsplit=1)
    pairs = parse_qsl(rest[0] if rest else "", keep_blank_values=True)
    query = {key.lstrip("?\uff1f"): value.lstrip("=") for key, value in pairs}
    return re.sub("/{2,}", "/", unquote(path)), query
