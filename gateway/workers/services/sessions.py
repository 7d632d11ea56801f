"""Gives workers the tokens of accounts: the master logs in and renews them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.accounts.pool import LocalPool
from gateway.errors import GatewayError, InternalError
from gateway.fitten.auth.reauthenticate import Renewal, session_refused_error
from gateway.fitten.auth.session import FittenSession
from gateway.store.token_file import Tokens
from gateway.workers.rpc.messages import RpcMessage, RpcRequest, RpcResponse
from gateway.workers.rpc.peer import RpcPeer

_LOGIN_TIMEOUT = 120.0  # seconds; each HTTP call of a login has a shorter limit of its own


class TokensFetched(RpcResponse, frozen=True):
    """Returns the tokens of an account."""

    tokens: Tokens


class FetchTokens(RpcRequest[TokensFetched], frozen=True):
    """Requests the tokens of an account; the master logs in first if necessary."""

    revision: int
    account: str


class ReplaceTokens(RpcRequest[TokensFetched], frozen=True):
    """Requests new tokens instead of those that the upstream refused."""

    revision: int
    account: str
    rejected: Tokens
    way: Renewal


class SessionRefused(RpcMessage, frozen=True):
    """Reports that the upstream refused an account even with new tokens."""

    revision: int
    account: str


class SessionsServer:
    """Asks the sessions of the accounts for one worker.

    pools: the pool of each revision that the worker uses.
    """

    def __init__(self, rpc: RpcPeer, pools: Mapping[int, LocalPool[FittenSession]]) -> None:
        self._pools = pools
        rpc.register(
            {
                FetchTokens: self._fetch,
                ReplaceTokens: self._replace,
                SessionRefused: self._on_refused,
            }
        )

    async def _fetch(self, request: FetchTokens) -> TokensFetched:
        return TokensFetched(request.call, await self._session(request).tokens())

    async def _replace(self, request: ReplaceTokens) -> TokensFetched:
        tokens = await self._session(request).replace(request.rejected, request.way)
        return TokensFetched(request.call, tokens)

    def _on_refused(self, message: SessionRefused) -> None:
        if session := self._find(message.revision, message.account):
            session.refused()

    def _session(self, request: FetchTokens | ReplaceTokens) -> FittenSession:
        session = self._find(request.revision, request.account)
        if session is None:
            raise InternalError
        return session

    def _find(self, revision: int, name: str) -> FittenSession | None:
        accounts = self._pools[revision].accounts if revision in self._pools else ()
        return next((account.session for account in accounts if account.name == name), None)


class SessionsClient:
    """Asks the master for tokens, for every revision of this worker."""

    def __init__(self, rpc: RpcPeer) -> None:
        self._rpc = rpc
        rpc.register(responses=(TokensFetched,))

    def of_revision(self, revision: int, on_secret: Callable[[str], None]) -> RemoteSessions:
        """Return the sessions of one revision.

        on_secret: called with each token before it is used, so that logs mask it.
        """
        return RemoteSessions(self._rpc, revision, on_secret)


class RemoteSessions:
    """Creates the sessions of one revision's accounts; see `SessionsClient`."""

    def __init__(self, rpc: RpcPeer, revision: int, on_secret: Callable[[str], None]) -> None:
        self._rpc = rpc
        self._revision = revision
        self._on_secret = on_secret
        self._known_tokens: dict[str, Tokens] = {}

    def session(self, account: str, tokens: Tokens | None) -> RemoteSession:
        """Return the session of an account for one request.

        tokens: those that the master has sent with the slot; None to fetch them later.
        """
        if tokens is not None:
            self._register_secrets(account, tokens)
        return RemoteSession(account, tokens, self)

    async def fetch(self, account: str) -> Tokens:
        """Return the tokens of an account."""
        number = self._rpc.next_call_id()
        return await self._call(account, FetchTokens(number, self._revision, account))

    async def replace(self, account: str, rejected: Tokens, way: Renewal) -> Tokens:
        """Return other tokens than `rejected`; see `TokenSource`."""
        number = self._rpc.next_call_id()
        request = ReplaceTokens(number, self._revision, account, rejected, way)
        return await self._call(account, request)

    def report_refused(self, account: str) -> None:
        """Report that the upstream refused an account even with new tokens."""
        self._rpc.send(SessionRefused(self._revision, account))

    async def _call(self, account: str, request: RpcRequest[TokensFetched]) -> Tokens:
        response = await self._rpc.call(request, _LOGIN_TIMEOUT)
        self._register_secrets(account, response.tokens)
        return response.tokens

    def _register_secrets(self, account: str, tokens: Tokens) -> None:
        if self._known_tokens.get(account) != tokens:
            self._known_tokens[account] = tokens
            for secret in (tokens.access_token, tokens.refresh_token, tokens.user_id):
                self._on_secret(secret)


class RemoteSession:
    """Holds the tokens of an account for one request.

    It stands for the account too (see `LeasedAccount`): a request needs nothing else of it.
    """

    __slots__ = ("_sessions", "_tokens", "name")

    def __init__(self, name: str, tokens: Tokens | None, sessions: RemoteSessions) -> None:
        self.name = name
        self._tokens = tokens
        self._sessions = sessions

    @property
    def session(self) -> RemoteSession:
        """Return this object, which is account and session in one."""
        return self

    async def tokens(self) -> Tokens:
        """See `TokenSource`."""
        if self._tokens is None:
            self._tokens = await self._sessions.fetch(self.name)
        return self._tokens

    async def replace(self, rejected: Tokens, way: Renewal) -> Tokens:
        """See `TokenSource`."""
        self._tokens = await self._sessions.replace(self.name, rejected, way)
        return self._tokens

    def refused(self) -> GatewayError:
        """See `TokenSource`."""
        self._sessions.report_refused(self.name)
        return session_refused_error()
