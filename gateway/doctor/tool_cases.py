"""Defines the turns that measure how well a model calls tools, and what each should lead to.

Every exact text of a call stands in the last message of the user. So a byte that is lost on the
way to the model, or back, is seen. Long texts stand between two lines, `--- text 1 ---` and
`--- end 1 ---`. All arguments are required: no default could make two right answers of one turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.generation.request import Message, Tool, ToolCall


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """Describes a call that a turn should lead to, with all of its arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCase:
    """Describes a turn.

    calls: the calls that are wanted, in any order. Without any, an answer in text is wanted.
    says: words of which the answer in text must have one, in upper or lower case.
    runs: how often the turn is run.
    """

    name: str
    messages: tuple[Message, ...]
    calls: tuple[ExpectedCall, ...] = ()
    says: tuple[str, ...] = field(default=())
    runs: int = 1


def _object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object whose members are all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_TASK = _object(
    title=_string("what is to be done"),
    priority={"type": "string", "enum": ["low", "normal", "high"]},
    labels={"type": "array", "items": {"type": "string"}},
    estimate=_object(hours={"type": "integer"}, certain={"type": "boolean"}),
)

TOOLS: tuple[Tool, ...] = (
    Tool("get_weather", "Get the current weather of a city.", _object(city=_string("its name"))),
    Tool(
        "read_file",
        "Read a text file. Returns its content.",
        _object(path=_string("path of the file")),
    ),
    Tool(
        "write_file",
        "Write a text file. The content is stored exactly as given; no line end is added.",
        _object(path=_string("path of the file"), content=_string("the whole content")),
    ),
    Tool(
        "edit_file",
        "Replace a text in a file. The old text must stand in the file exactly once.",
        _object(
            path=_string("path of the file"),
            old_text=_string("the text to replace, with its indentation"),
            new_text=_string("the text in its place"),
        ),
    ),
    Tool(
        "search_files",
        "Search the files of a folder with a regular expression.",
        _object(folder=_string("path of the folder"), pattern=_string("regular expression")),
    ),
    Tool(
        "create_tasks",
        "Create tasks in the tracker.",
        _object(tasks={"type": "array", "items": _TASK, "description": "the new tasks"}),
    ),
    Tool(
        "send_message",
        "Send a message to a person.",
        _object(to=_string("name of the person"), text=_string("the message")),
    ),
)

_EXACTLY = (
    "Copy each text between its two lines exactly, character by character; the line end before "
    "the `--- end` line does not belong to it."
)


def _texts(*texts: str) -> str:
    """Return texts between numbered lines, with the sentence that says how to copy them."""
    blocks = [f"--- text {n} ---\n{text}\n--- end {n} ---" for n, text in enumerate(texts, 1)]
    return "\n\n".join([_EXACTLY, *blocks])


def _user(*paragraphs: str) -> tuple[Message, ...]:
    return (Message("user", "\n\n".join(paragraphs)),)


def _after(question: str, call: ExpectedCall, result: str, *, failed: bool = False) -> Any:
    """Return a conversation that ends with the result of a call."""
    made = ToolCall("call_1", call.tool, json.dumps(call.arguments))
    return (
        Message("user", question),
        Message("assistant", "", calls=(made,)),
        Message("tool", result, call_id="call_1", failed=failed),
    )


CODE = r'''def render(rows, sep="\t"):
    """Join rows; "quotes", 'single' ones and \ stay as they are."""
    pattern = r"^\s*\"(?P<key>[^\"\\]+)\"\s*:\s*'(.*)'$"
    head = f"{sep.join(str(c) for c in rows[0])}\n"
    return head + "\\n".join('%s = "%s"' % (k, v) for k, v in rows[1:])  # 100 % "done"
'''.rstrip("\n")

TAGS = """# Notes

<call>
{"path": "a.txt"}
<arg content>
x < 1 && y > 2
</arg>
</call>

```xml
<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>
<function_calls><invoke name="f"></invoke></function_calls>
```

</tool_call></arguments></function>"""

TEMPLATE = """{%- for message in messages %}
<|{{ message.role }}|>
{{ message["content"] | trim }}<|end|>
{%- endfor %}
<|assistant|>{# <|user|> ends the answer #}"""

OLD_TEXT = """    if not items:
        return {"total": 0, "text": ""}
    for item in items:
        total += item["price"]"""

NEW_TEXT = """    if not items:
        raise ValueError('no "items": \\'[]\\'')

    for item in items:
        total += item["price"] * item.get("count", 1)"""

WINDOWS_PATH = r"C:\Users\new user\temp\notes"
REGEX = r"(?<!\\)\$\{(\w+)(?::-([^}\"']*))?\}\s*(?:\n|\\n)"

CHINESE = (
    "你好，明天的会议改到下午三点（15:00）。\n"
    "请带上“测试报告”和《设计说明》——谢谢！🙂👩‍💻🇨🇳\n"
    "価格は¥3,000〜です"
)

_TASKS = [
    {
        "title": "Fix the parser's off-by-one error",
        "priority": "high",
        "labels": ["bug", "parser"],
        "estimate": {"hours": 3, "certain": True},
    },
    {
        "title": 'Rename "foo" to "bar"',
        "priority": "low",
        "labels": [],
        "estimate": {"hours": 1, "certain": False},
    },
]

CASES: tuple[ToolCase, ...] = (
    ToolCase(
        "one call",
        _user("What is the weather in Hamburg now? Use the tool."),
        (ExpectedCall("get_weather", {"city": "Hamburg"}),),
        runs=3,
    ),
    ToolCase(
        "two calls",
        _user("Get the weather of Oslo and of Lima. The two calls are independent: make both now."),
        (
            ExpectedCall("get_weather", {"city": "Oslo"}),
            ExpectedCall("get_weather", {"city": "Lima"}),
        ),
        runs=2,
    ),
    ToolCase(
        "nested arguments",
        _user(
            "Create these two tasks with one call of create_tasks, in this order, every value as "
            "it stands here:",
            json.dumps(_TASKS, indent=2),
        ),
        (ExpectedCall("create_tasks", {"tasks": _TASKS}),),
        runs=2,
    ),
    ToolCase(
        "code",
        _user("Write the file src/render.py. Its content is text 1.", _texts(CODE)),
        (ExpectedCall("write_file", {"path": "src/render.py", "content": CODE}),),
        runs=3,
    ),
    ToolCase(
        "closing tags",
        _user("Write the file notes.md. Its content is text 1.", _texts(TAGS)),
        (ExpectedCall("write_file", {"path": "notes.md", "content": TAGS}),),
        runs=2,
    ),
    ToolCase(
        "chat template",
        _user("Write the file chat.jinja. Its content is text 1.", _texts(TEMPLATE)),
        (ExpectedCall("write_file", {"path": "chat.jinja", "content": TEMPLATE}),),
    ),
    ToolCase(
        "edit",
        _user(
            "Edit the file shop/cart.py: replace text 1 with text 2. You need not read it first.",
            _texts(OLD_TEXT, NEW_TEXT),
        ),
        (
            ExpectedCall(
                "edit_file",
                {"path": "shop/cart.py", "old_text": OLD_TEXT, "new_text": NEW_TEXT},
            ),
        ),
    ),
    ToolCase(
        "path and regex",
        _user(
            "Search the files of the folder of text 1 with the regular expression of text 2.",
            _texts(WINDOWS_PATH, REGEX),
        ),
        (ExpectedCall("search_files", {"folder": WINDOWS_PATH, "pattern": REGEX}),),
    ),
    ToolCase(
        "Chinese and emoji",
        _user("Send text 1 as a message to 王小明.", _texts(CHINESE)),
        (ExpectedCall("send_message", {"to": "王小明", "text": CHINESE}),),
    ),
    ToolCase(
        "no tool needed",
        _user("What is 17 times 3? Answer with the number; no tool is needed."),
        says=("51",),
    ),
    ToolCase(
        "example only",
        _user(
            "In a Markdown fence, show the JSON arguments that a call of get_weather for Rome "
            "would have. It is for a manual: do not make the call."
        ),
        says=("rome",),
    ),
    ToolCase(
        "after a result",
        _after(
            "Which number does the file build/answer.txt have? Tell me in one sentence.",
            ExpectedCall("read_file", {"path": "build/answer.txt"}),
            "The number of this build is 48213.",
        ),
        says=("48213", "48,213"),
        runs=2,
    ),
    ToolCase(
        "after an error",
        _after(
            "Read the file secret.txt. If that fails, do not try again: tell me the reason in one "
            "sentence.",
            ExpectedCall("read_file", {"path": "secret.txt"}),
            "EACCES: permission denied, open 'secret.txt'",
            failed=True,
        ),
        says=("permission", "denied", "eacces"),
    ),
)


def turns_of(cases: tuple[ToolCase, ...]) -> list[ToolCase]:
    """Return the turns of one run over the cases: each case as often as it is to be run."""
    return [case for case in cases for _ in range(case.runs)]


def characters_of(case: ToolCase) -> int:
    """Return about how many characters the prompt of a turn has, before a notation adds some."""
    texts = [m.text for m in case.messages] + [c.arguments for m in case.messages for c in m.calls]
    tools = [(tool.name, tool.description, tool.parameters) for tool in TOOLS]
    return sum(map(len, texts)) + len(json.dumps(tools))
