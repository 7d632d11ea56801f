"""Sends chats to any gateway with locust, and checks the answers.

    pip install locust
    GATEWAY_API_KEY=... locust -f benchmarks/locustfile.py --host http://127.0.0.1:5000

Locust costs more per request than the gateway does, so its figures are those of locust
until there are several of its workers; `make bench` measures the gateway itself.
"""

from __future__ import annotations

import os
import time
from typing import Any

from locust import HttpUser, constant_throughput, task  # type: ignore[import-not-found]

_KEY = os.environ.get("GATEWAY_API_KEY", "fg-demo-key")


class LocustUser(HttpUser):  # type: ignore[misc]
    """Asks once a second: twice for a stream, then once for a whole answer."""

    wait_time = constant_throughput(1)

    @task(1)  # type: ignore[untyped-decorator]
    def whole(self) -> None:
        with self._post(stream=False, name="whole") as response:
            if response.status_code == 200 and not response.json()["choices"]:
                response.failure("no choices")

    @task(2)  # type: ignore[untyped-decorator]
    def stream(self) -> None:
        started = time.perf_counter()
        first = None
        with self._post(stream=True, name="stream") as response:
            last = b""
            for line in response.iter_lines() if response.status_code == 200 else ():
                first = first or time.perf_counter()
                last = line or last
            if response.status_code == 200 and last != b"data: [DONE]":
                response.failure("the stream did not end with [DONE]")
        if first is not None:
            self.environment.events.request.fire(
                request_type="SSE",
                name="first line",
                response_time=(first - started) * 1000,
                response_length=0,
                exception=None,
                context={},
            )

    def _post(self, *, stream: bool, name: str) -> Any:
        return self.client.post(
            "/v1/chat/completions",
            json={
                "model": "fitten-code",
                "stream": stream,
                "messages": [{"role": "user", "content": "Hello!"}],
            },
            headers={"Authorization": f"Bearer {_KEY}"},
            name=name,
            stream=stream,
            catch_response=True,
        )
