"""Runs the emulator as a process of its own: `python -m emulator`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from emulator.accounts import ACCOUNT_SCENARIOS, EmulatedAccount
from emulator.scenarios.registry import SCENARIOS
from emulator.server import Emulator

_ABOUT = "A stand-in for Fitten Code on this machine: no account, no network, made-up answers."

_SCENARIOS = """\
scenarios:
  A marker in the last user message selects what the answer looks like, for example
  [[say text=Good%20morning piece=2]], [[slow first=2]] or [[truncate how=reset after=3]].
  Without a marker the emulator answers like an assistant and says what it received.
  POST /_emulator/account {"username": "...", "scenarios": ["refresh_401"]} makes an account
  misbehave; GET /_emulator/calls shows what was received, tokens included.
  --scenarios lists them all.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM, or list the scenarios; returns the exit status."""
    options = _parser().parse_args(argv)
    if options.scenarios:
        print(scenario_list())
        return 0
    try:
        asyncio.run(_run(options))
    except OSError as problem:
        print(f"emulator: {problem}", file=sys.stderr)
        return 1
    return 0


def scenario_list() -> str:
    """Return the text of --scenarios: every marker and every account scenario, one per line."""
    chat = [f"  [[{known.usage}]]\n      {known.summary}" for _, known in sorted(SCENARIOS.items())]
    account = [f"  {name}\n      {summary}" for name, summary in ACCOUNT_SCENARIOS.items()]
    return "\n".join(["chat, by a marker:", *chat, "", "account:", *account])


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    accounts = options.account or [EmulatedAccount("demo_user", "correct horse")]
    emulator = Emulator(host=options.host, port=options.port, accounts=accounts, pace=options.pace)
    async with emulator:
        print(f"Fitten emulator on {emulator.url}", flush=True)
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emulator",
        description=_ABOUT,
        epilog=_SCENARIOS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8390, help="port; 0 takes any (8390)")
    parser.add_argument(
        "--account",
        action="append",
        type=_account,
        metavar="USER:PASSWORD",
        help='may be repeated (demo_user:"correct horse")',
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=0.03,
        metavar="SECONDS",
        help="between the pieces of an answer (0.03)",
    )
    parser.add_argument("--scenarios", action="store_true", help="list all scenarios and leave")
    return parser


def _account(text: str) -> EmulatedAccount:
    username, colon, password = text.partition(":")
    if not (username and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not USER:PASSWORD")
    return EmulatedAccount(username, password)


if __name__ == "__main__":
    sys.exit(main())
