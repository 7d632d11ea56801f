"""The line of configuration that the doctor prints."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gateway.config.settings import ToolSettings
from gateway.doctor.command import MEASURED, config_line


def test_auto_is_not_measured_since_it_is_one_of_the_others() -> None:
    assert MEASURED == ("hybrid", "json")


def test_the_line_sets_the_notation_of_the_model() -> None:
    line = config_line(ToolSettings(), "DeepSeek V3", "hybrid")
    assert line == 'tools: {notation: {"DeepSeek V3": hybrid}}'


def test_the_line_keeps_what_is_configured_besides() -> None:
    configured = ToolSettings(notation={"*": "json", "M": "json"}, repair=False)
    line = config_line(configured, "M", "hybrid")
    assert line == 'tools: {notation: {"*": json, "M": hybrid}, repair: false}'


@pytest.mark.parametrize("model", ["a*b", "a?b", "[x]", "模型", 'say "hi": {x}, # y', "yes", "[*]"])
def test_the_line_is_yaml_and_its_pattern_fits_this_model_alone(model: str) -> None:
    data: Any = yaml.safe_load(config_line(ToolSettings(), model, "json"))
    settings = ToolSettings(**data["tools"])
    assert settings.notation_of(model) == "json"
    for other in ("aXb", "x", "no", "", model + "x"):
        assert settings.notation_of(other) == "auto"
