"""Errors, models and the version as clients of Ollama read them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from gateway import __version__
from gateway.apis.ollama.dialect import (
    OllamaDialect,
    model_in_body,
    running_models,
    version_body,
)
from gateway.errors import GatewayError, InvalidRequest, NotFound, UpstreamError, overloaded
from gateway.generation.model import Model

DIALECT = OllamaDialect()
DEFAULT = Model("fitten-code", "Fitten Code", None, "chat", True, context_window=96_000)
MODELS = [
    DEFAULT,
    Model("DeepSeek V3", "DeepSeek V3", "S2", "chat", context_window=70_000),
    Model("agent/Default", "Default", "S5", "agent", context_window=70_000),
    Model("a:7b", "a:7b", "S6", "chat", context_window=70_000),
]


def shown(model: Model) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(DIALECT.model_body(model))
    return body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("No."), 400),
        (NotFound("No."), 404),
        (UpstreamError("No."), 502),
        (overloaded(), 503),
    ],
)
def test_an_error_is_a_sentence(error: GatewayError, status: int) -> None:
    assert json.loads(DIALECT.error_body(error, "req_1")) == {"error": error.message}
    assert DIALECT.status(error) == status


@pytest.mark.parametrize(
    ("message", "sentence"),
    [("Not here.", "messages: Not here."), ("'messages' is wrong.", "'messages' is wrong.")],
)
def test_a_message_names_the_field(message: str, sentence: str) -> None:
    error = InvalidRequest(message, param="messages")
    assert json.loads(DIALECT.error_body(error)) == {"error": sentence}


def test_ollama_has_no_headers_of_its_own() -> None:
    headers = {"x-request-id": "req_1"}
    DIALECT.add_headers(headers, 1.0)
    assert headers == {"x-request-id": "req_1"}
    assert DIALECT.owns({"messages": [], "system": "a"}, {})


def test_models_have_names_with_a_tag_that_clients_need_not_add() -> None:
    listed = json.loads(DIALECT.models_body(MODELS))["models"]
    assert [model["name"] for model in listed] == [
        *("fitten-code:latest", "deepseek-v3:latest", "agent/default:latest", "a:7b"),
    ]
    assert len({model["digest"] for model in listed}) == len(listed)
    for model in listed:
        assert model["model"] == model["name"]
        assert re.fullmatch("[0-9a-f]{64}", model["digest"])
        assert datetime.fromisoformat(model["modified_at"])
        assert model["size"] == 0
        # Zed, Roo Code and the Go client need these members, and texts in them.
        details = model["details"]
        assert details.keys() >= {"format", "family", "parameter_size", "quantization_level"}
        assert details["families"] == [details["family"]]


def test_a_model_is_shown_with_its_window_and_what_it_can_do() -> None:
    model = shown(DEFAULT)
    information = model["model_info"]
    architecture = information["general.architecture"]
    assert information[f"{architecture}.context_length"] == 96_000
    assert model["capabilities"] == ["completion", "tools", "insert", "vision"]
    assert ".Suffix" in model["template"]
    for name in ("license", "modelfile", "parameters", "template"):
        assert isinstance(model[name], str)
    assert datetime.fromisoformat(model["modified_at"])


def test_a_model_that_reads_text_only_has_no_vision() -> None:
    assert shown(MODELS[1])["capabilities"] == ["completion", "tools", "insert"]
    assert "vision" in shown(MODELS[2])["capabilities"]
    listed = json.loads(DIALECT.models_body(MODELS))["models"]
    assert [model["capabilities"] for model in listed] == [shown(m)["capabilities"] for m in MODELS]


def test_every_model_runs() -> None:
    running = json.loads(running_models(MODELS))["models"]
    assert [(model["model"], model["context_length"]) for model in running] == [
        ("fitten-code:latest", 96_000),
        ("deepseek-v3:latest", 70_000),
        ("agent/default:latest", 70_000),
        ("a:7b", 70_000),
    ]
    assert all(datetime.fromisoformat(model["expires_at"]).year > 2100 for model in running)


def test_the_version_is_three_numbers_and_not_the_gateways() -> None:
    version = json.loads(version_body())["version"]
    numbers = [int(part) for part in version.split(".")]
    assert len(numbers) == 3
    assert numbers >= [0, 6, 4]
    assert version != __version__


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"model": "a"}, "a"),
        ({"name": "b"}, "b"),
        ({"model": "a", "name": "b", "verbose": True}, "a"),
        ({"model": "", "name": "b"}, "b"),
    ],
)
def test_a_body_names_a_model(body: dict[str, Any], name: str) -> None:
    assert model_in_body(json.dumps(body).encode()) == name


def test_a_body_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequest) as failure:
        model_in_body(b"{}")
    assert failure.value.param == "model"
