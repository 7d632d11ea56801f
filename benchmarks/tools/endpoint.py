"""Runs turns with tools over an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp

from gateway.doctor.grading import Grade, SeenAnswer, grade
from gateway.doctor.report import TurnResult
from gateway.doctor.tool_cases import TOOLS, ToolCase
from gateway.generation.request import Message

_TIMEOUT = 900.0  # seconds of a turn; a model on a slow device takes minutes
_REPAIRS = "x-fitten-repaired"  # a header of the gateway: why it asked for an answer once more


class ToolEndpoint:
    """Asks one model of an endpoint. url: up to `/v1`. model: None for the endpoint's default."""

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str | None) -> None:
        self._http = http
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = {} if model is None else {"model": model}

    async def run(self, case: ToolCase) -> tuple[TurnResult, str]:
        """Run one turn; return its result, and the sentence of its failure, empty without one.

        The characters are those of the request's texts and of the answer's. What a server makes
        of them for its model cannot be seen.
        """
        messages = [message_of(message) for message in case.messages]
        request = {**self._model, "messages": messages, "tools": tools(), "stream": False}
        graded, failure, sentence, written, repairs = Grade(), None, "", 0, 0
        started = time.monotonic()
        try:
            async with self._http.post(
                self._url, json=request, timeout=aiohttp.ClientTimeout(total=_TIMEOUT)
            ) as response:
                body = await response.text()
                repairs = int(_REPAIRS in response.headers)
                if response.status != 200:
                    failure, sentence = str(response.status), _sentence(body)
                else:
                    answer = _answer(json.loads(body))
                    graded = grade(case, answer)
                    written = len(answer.text) + sum(len(n) + len(a) for n, a in answer.calls)
                    if not written:
                        failure, sentence = "empty_answer", "The answer is empty."
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure, sentence = "connection", f"{type(error).__name__}: {error}"
        except (ValueError, LookupError, TypeError) as error:
            failure, sentence = "invalid_answer", f"not an answer of this API: {error!r}"
        result = TurnResult(
            case=case,
            grade=graded,
            failure=failure,
            characters_in=_characters_in(request),
            characters_out=written,
            repairs=repairs,
            seconds=time.monotonic() - started,
        )
        return result, sentence


def message_of(message: Message) -> dict[str, Any]:
    """Return a message in OpenAI's form."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if not message.calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in message.calls
    ]
    return {"role": message.role, "content": message.text or None, "tool_calls": calls}


def tools() -> list[dict[str, Any]]:
    """Return the tools of all turns in OpenAI's form."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            },
        }
        for tool in TOOLS
    ]


def _characters_in(request: dict[str, Any]) -> int:
    texts = [message.get("content") or "" for message in request["messages"]]
    made = [call for message in request["messages"] for call in message.get("tool_calls", ())]
    others = json.dumps([request["tools"], made], ensure_ascii=False)
    return sum(map(len, texts)) + len(others)


def _answer(body: Any) -> SeenAnswer:
    """Return the calls and the text of an answer. Raises LookupError, TypeError or ValueError."""
    message = body["choices"][0]["message"]
    calls = []
    for call in message.get("tool_calls") or ():
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments)
        calls.append((call["function"]["name"], arguments))
    return SeenAnswer(calls, message.get("content") or "")


def _sentence(body: str) -> str:
    """Return the message of an error's body, else its beginning."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return body[:200]
