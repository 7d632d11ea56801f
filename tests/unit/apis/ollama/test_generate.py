"""The body of POST /api/generate: a question, a text with a gap, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.apis.ollama.generate import OllamaGenerate
from gateway.errors import InvalidRequest
from gateway.generation.request import Fill, GenerationRequest, Image, Message, ResponseFormat
from tests.images import data_url, png

IMAGE = data_url(png()).partition(",")[2]
QWEN = "<|fim_prefix|>def f(<|fim_suffix|>):<|fim_middle|>"
MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
TEMPLATE = "<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>"
# The template of a model of Ollama's own library.
EITHER = (
    "{{- if .Suffix }}" + TEMPLATE + "{{- else }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n"
    "<|im_start|>assistant\n{{ end }}"
)


def parse(prompt: Any = "hi", **members: Any) -> GenerationRequest:
    return OllamaGenerate().parse(json.dumps({"prompt": prompt, **members}).encode())


def refused(**members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as failure:
        parse(**members)
    return failure.value


def test_a_prompt_is_a_question() -> None:
    assert parse(model="llama3") == GenerationRequest(
        messages=(Message("user", "hi"),), model="llama3", stream=True, include_usage=True
    )
    parsed = parse(
        system="Be short.", images=[IMAGE], stream=False, think=False, format="json", raw=False
    )
    assert parsed == GenerationRequest(
        messages=(
            Message("system", "Be short."),
            Message("user", "hi", images=(Image("image/png", IMAGE),)),
        ),
        include_usage=True,
        reasoning=False,
        response_format=ResponseFormat(is_object=True),
    )


@pytest.mark.parametrize(
    "body",
    [{}, {"prompt": ""}, {"prompt": None, "suffix": ""}, {"prompt": "", "system": "Be short."}],
)
def test_a_request_without_a_prompt_asks_for_nothing_and_is_no_stream(body: Any) -> None:
    parsed = OllamaGenerate().parse(json.dumps({"model": "a", "keep_alive": 0, **body}).encode())
    assert (parsed.messages, parsed.fills, parsed.stream) == ((), (), False)


def test_an_image_alone_is_a_question() -> None:
    (message,) = parse("", images=[IMAGE]).messages
    assert (message.text, len(message.images)) == ("", 1)


@pytest.mark.parametrize("more", [{}, {"raw": True}, {"template": EITHER}, {"template": TEMPLATE}])
def test_a_suffix_makes_a_gap(more: dict[str, Any]) -> None:
    parsed = parse("def f(", suffix="):", **more)
    assert (parsed.fills, parsed.messages) == ((Fill("def f(", "):"),), ())
    assert (parsed.max_tokens, parsed.stream) == (128, True)
    assert parse("", suffix="a").fills == (Fill("", "a"),)


@pytest.mark.parametrize("more", [{}, {"raw": True}, {"template": "{{ .Prompt }}"}])
def test_markers_in_the_prompt_make_a_gap(more: dict[str, Any]) -> None:
    parsed = parse(QWEN, options={"stop": ["\n\n"], "num_predict": 40}, **more)
    assert parsed.fills == (Fill("def f(", "):"),)
    assert parsed.stop == ("\n\n", *MARKERS)
    assert parsed.max_tokens == 40


def test_markers_of_the_template_make_a_gap_at_the_end() -> None:
    parsed = parse("def f(", template=TEMPLATE)
    assert parsed.fills == (Fill("def f(", ""),)
    assert parsed.stop == MARKERS


@pytest.mark.parametrize("template", [EITHER, "{{ .System }}{{ .Prompt }}", ""])
def test_another_template_changes_nothing(template: str) -> None:
    assert parse(template=template).messages == (Message("user", "hi"),)


def test_a_raw_prompt_is_a_text_to_continue() -> None:
    assert parse("def f(", raw=True).fills == (Fill("def f(", ""),)
    assert parse("def f(", raw=True, options={"num_predict": -1}).max_tokens == 128


@pytest.mark.parametrize(
    "prompt",
    ["<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "[INST] hi [/INST]"],
)
def test_a_raw_prompt_that_ends_with_a_turn_is_a_question(prompt: str) -> None:
    parsed = parse(prompt, raw=True)
    assert parsed.messages == (Message("user", prompt),)
    assert parsed.max_tokens is None


def test_what_has_no_effect_is_named() -> None:
    parsed = parse(context=[1, 2], options={"num_ctx": 1}, keep_alive="5m", logprobs=True)
    assert parsed.ignored == ("context", "logprobs", "num_ctx")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": ["a"]}, "prompt"),
        ({"suffix": 1}, "suffix"),
        ({"images": "a"}, "images"),
        ({"images": ["a"]}, "images[0]"),
        ({"raw": "yes"}, "raw"),
        ({"think": "hard"}, "think"),
        ({"format": "yaml"}, "format"),
        ({"options": {"num_predict": 0.5}}, "options.num_predict"),
    ],
)
def test_what_is_wrong_has_a_name(members: dict[str, Any], param: str) -> None:
    assert refused(**members).param == param
