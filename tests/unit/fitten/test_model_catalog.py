"""The models on offer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.settings import ModelSettings
from gateway.errors import NotFound
from gateway.fitten.model_catalog import DEFAULT_MODEL, ModelCatalog, parse_models


def item(selection: Any, display: Any = None, **members: Any) -> dict[str, Any]:
    return {"selection_name": selection, "display_name": display, **members}


LIST = {
    "chat": [
        item("S2", "DeepSeek V3", order=95),
        item("S1", "Default", order=100, is_default=True),
        item("S3", "DeepSeek R1", order=90),
    ],
    "agent": [item("S5", "Default", is_default=True)],
}


def ids(answer: dict[str, Any]) -> list[str]:
    return [model.id for model in parse_models(answer)]


@pytest.fixture
def catalogue() -> ModelCatalog:
    catalogue = ModelCatalog()
    catalogue.replace(parse_models(LIST))
    return catalogue


def test_ids_are_display_names_and_a_later_one_gets_its_section_added() -> None:
    assert ids(LIST) == ["Default", "DeepSeek V3", "DeepSeek R1", "agent/Default"]


def test_the_default_comes_first_then_the_highest_order() -> None:
    answer = {"chat": [item("a", order=1), item("b", order="7"), item("c", is_default=True)]}
    assert ids(answer) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("name", "selection"),
    [
        (None, None),
        ("fitten-code", None),
        ("Fitten-Code", None),
        ("Fitten Code", None),
        ("Default", "S1"),
        ("default", "S1"),
        ("S1", "S1"),
        ("s3", "S3"),
        ("DeepSeek R1", "S3"),
        ("deepseek r1", "S3"),
        ("agent/Default", "S5"),
        ("S5", "S5"),
        ("deepseek-v3", "S2"),
        ("DeepSeek-R1", "S3"),
        ("agent/default", "S5"),
    ],
)
def test_a_model_is_found_by_id_display_and_selection_name_in_any_case(
    catalogue: ModelCatalog, name: str | None, selection: str | None
) -> None:
    assert catalogue.resolve(name).selection_name == selection


@pytest.mark.parametrize("name", ["", "gpt-4o", "S9", "DeepSeek", " Default", "x" * 100_000, "\0"])
def test_an_unknown_model_is_not_found(catalogue: ModelCatalog, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        catalogue.resolve(name)
    error = caught.value
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert len(error.message) < 300


def test_the_error_for_an_unknown_model_lists_the_names_that_can_be_typed(
    catalogue: ModelCatalog,
) -> None:
    with pytest.raises(NotFound) as caught:
        catalogue.resolve("gpt-4o")
    assert caught.value.message == (
        "The model 'gpt-4o' does not exist. "
        "Models: fitten-code, default, deepseek-v3, deepseek-r1, agent/default."
    )


def test_the_error_for_an_unknown_model_is_bounded() -> None:
    catalogue = ModelCatalog()
    catalogue.replace(parse_models({"chat": [item(f"S{n}", f"Model {n}") for n in range(500)]}))
    with pytest.raises(NotFound) as caught:
        catalogue.resolve("other")
    assert "model-18, and 481 more: see GET /v1/models." in caught.value.message


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("claude-opus-5", "fitten-code"),
        ("Claude-Opus-5", "fitten-code"),
        ("claude-haiku-5", "DeepSeek V3"),
        ("o3-mini", "fitten-code"),
        ("deepseek-r1", "DeepSeek R1"),
        ("S1", "Default"),
    ],
)
def test_the_longest_pattern_decides_and_names_of_the_list_win(name: str, model: str) -> None:
    aliases = {"*": "fitten-code", "Claude-*": "fitten-code", "claude-haiku-*": "deepseek-v3"}
    assert ModelCatalog(aliases).resolve(name).id == model


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fitten-code:latest", "fitten-code"),
        ("DeepSeek-V3:LATEST", "DeepSeek V3"),
        ("agent/default:latest", "agent/Default"),
        ("llama3:latest", "DeepSeek V3"),
        ("llama3", "DeepSeek V3"),
        ("phi:latest", "DeepSeek R1"),
        ("phi", "fitten-code"),
    ],
)
def test_the_tag_latest_says_nothing(name: str, model: str) -> None:
    aliases = {"*": "fitten-code", "llama3": "deepseek-v3", "phi:latest": "deepseek-r1"}
    assert ModelCatalog(aliases).resolve(name).id == model


@pytest.mark.parametrize(
    "name", ["fitten-code:7b", ":latest", "latest", "fitten-code:latest:latest"]
)
def test_another_tag_is_part_of_the_name(name: str) -> None:
    with pytest.raises(NotFound):
        ModelCatalog().resolve(name)


@pytest.mark.parametrize("name", ["claude-opus-5", "gpt-5.5", "o3-mini", "codex-mini-latest"])
def test_the_shipped_aliases_are_the_default_model_and_can_be_removed(name: str) -> None:
    assert ModelCatalog(ModelSettings().aliases).resolve(name) is DEFAULT_MODEL
    with pytest.raises(NotFound):
        ModelCatalog(ModelSettings(aliases={}).aliases).resolve(name)


@pytest.mark.parametrize("name", ["other", "o", "opus", "my-gpt-5", "x" * 100_000])
def test_other_names_have_no_shipped_alias(name: str) -> None:
    with pytest.raises(NotFound):
        ModelCatalog(ModelSettings().aliases).resolve(name)


def test_an_alias_of_an_unknown_model_is_an_unknown_model() -> None:
    with pytest.raises(NotFound) as caught:
        ModelCatalog({"claude-*": "gone"}).resolve("claude-opus-5")
    error = caught.value
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "'claude-opus-5', for which models.aliases has 'gone', does not exist" in error.message


def test_without_a_list_there_is_a_fall_back() -> None:
    catalogue = ModelCatalog()
    assert [model.id for model in catalogue.models] == [
        "fitten-code",
        "Default",
        "DeepSeek V3",
        "DeepSeek R1",
        "agent/Default",
    ]
    assert catalogue.resolve(None) is DEFAULT_MODEL


def test_a_new_list_replaces_the_old_but_not_the_default(catalogue: ModelCatalog) -> None:
    catalogue.replace(parse_models({"chat": [item("N1", "New")]}))
    assert [model.id for model in catalogue.models] == ["fitten-code", "New"]
    with pytest.raises(NotFound):
        catalogue.resolve("S1")
    assert catalogue.resolve("fitten-code") is DEFAULT_MODEL


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, []),
        ({"chat": None, "agent": {}}, []),
        ({"chat": "S1"}, []),
        ({"chat": [None, 1, "S1", [], {}]}, []),
        ({"chat": [item(None, "a"), item("", "b"), item(5, "c")]}, []),
        ({"chat": [item("S1"), item("S2", ""), item("S3", 5)]}, ["S1", "S2", "S3"]),
        ({"agent": [item("S5", "Default")]}, ["Default"]),
        ({"chat": [item("S1", "A"), item("S2", "A")]}, ["A", "chat/A"]),
        ({"chat": [item("S1", "A"), item("S2", "A"), item("S3", "A")]}, ["A", "chat/A", "chat/S3"]),
        ({"chat": [item("S1", "A"), item("S1", "A"), item("S1", "A")]}, ["A", "chat/A", "chat/S1"]),
        ({"chat": [item("S1", "A"), item("S2", "a")]}, ["A", "chat/a"]),
        ({"chat": [item("S1", "Fitten-Code")]}, ["chat/Fitten-Code"]),
        ({"chat": [item("S1", order=None), item("S2", order=[]), item("S3", order=1)]},
         ["S3", "S1", "S2"]),
        ({"other": [item("S1", "A")]}, []),
    ],
)  # fmt: skip
def test_what_is_odd_in_a_list_is_left_out(answer: dict[str, Any], expected: list[str]) -> None:
    assert ids(answer) == expected


values = st.none() | st.booleans() | st.integers() | st.text("aAbS1", max_size=2) | st.floats()
items = st.fixed_dictionaries(
    {},
    optional={
        "selection_name": values,
        "display_name": values,
        "is_default": values,
        "order": values | st.just("nan") | st.lists(st.none(), max_size=1),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({}, optional={"chat": st.lists(items), "agent": st.lists(items)}))
def test_any_list_gives_models_that_are_found_by_their_own_id(answer: dict[str, Any]) -> None:
    catalogue = ModelCatalog()
    catalogue.replace(parse_models(answer))
    folded = [model.id.casefold() for model in catalogue.models]
    assert len(set(folded)) == len(folded)
    for model in catalogue.models:
        assert catalogue.resolve(model.id) is model
