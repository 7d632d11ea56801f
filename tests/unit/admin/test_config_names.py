"""What config.yaml and the store name both is a mistake, but teams may have keys of both."""

from __future__ import annotations

from gateway.admin.config_names import shared_names, teams_not_in_config
from gateway.keys.changes import ConfigNames
from tests.unit.keys.support import key, table, team

NAMES = ConfigNames(frozenset({"ci"}), frozenset({"boss"}), frozenset({"web"}))


def test_a_name_of_both_is_a_mistake_for_each_kind() -> None:
    ci, boss, web = key("ci")[0], key("boss", "admin", role="admin")[0], team("web")
    others = (key("alice")[0], key("boss")[0], key("ci", "admin", role="admin")[0])
    found = shared_names(NAMES, table(ci, boss, *others, teams=(web, team("ops"))))
    assert [mistake.partition(": ")[0] for mistake in found] == [
        "api_key.keys",
        "admin.keys",
        "teams",
    ]
    assert "is also that of an admin key made at run time" in found[1]
    commands = [mistake.rpartition("fitten-gateway ")[2] for mistake in found]
    assert commands == [
        f"keys set {ci.id} --name NAME",
        f"admin-keys set {boss.id} --name NAME",
        f"teams set {web.id} --name NAME",
    ]
    assert shared_names(ConfigNames(), table(ci, boss, teams=(web,))) == []


def test_a_team_that_is_gone_from_the_file_is_named_with_the_number_of_its_keys() -> None:
    keys = [key(f"k{index}", team_id=team_id)[0] for index, team_id in enumerate("aab")]
    records = table(*keys, key("free")[0], config_teams={"a": "apps", "b": "web"})
    assert teams_not_in_config(NAMES, records) == {"apps": 2}
    assert teams_not_in_config(ConfigNames(), records) == {"apps": 2, "web": 1}
