"""Runs the checks of the command "doctor".

`tool_cases` has the turns that measure tools, and `grading` compares answers with them; neither
does I/O. `tool_turns` runs them on Fitten, `report` sums them up, `command` is the command.
"""
