"""What the clients' requests ask of the emulator; the one place that knows its markers."""

from __future__ import annotations

SAID = "src/main.py"
CHAT = f"[[say text={SAID}]]"
FAILING = "[[error_middle]]"
TOOL = "[[call]]"
TOOLS = {
    "as asked": TOOL,
    "JSON": "[[call notation=tool_call]]",
    "DeepSeek": "[[call notation=deepseek_v31]]",
    "Qwen": "[[call notation=qwen3_coder]]",
    "Kimi": "[[call notation=kimi_k2]]",
    "Mistral": "[[call notation=mistral_args]]",
}
COMPLETED = "a+b"
COMPLETION = f"[[complete text={COMPLETED}]]"
