"""Runs the checks of the command `doctor`.

`tool_cases` has the turns of `--tools` and `grading` compares answers with them; neither does
I/O. `tool_turns` runs them on Fitten, `report` prints what came out, `command` is the command.
"""
