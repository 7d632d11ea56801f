"""What the clients' requests ask of the emulator; the one place that knows its markers."""

from __future__ import annotations

SAID = "src/main.py"
CHAT = f"[[say text={SAID}]]"
FAILING = "[[error_middle]]"
TOOL = "[[call]]"
COMPLETED = "a+b"
COMPLETION = f"[[complete text={COMPLETED}]]"
