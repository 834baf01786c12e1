from __future__ import annotations

import pytest

from everynode.config.cluster_file import ClusterView, GroupTable, NodeTable, read_cluster, write_cluster
from everynode.config.node_file import NodeSettings, edit_node, read_node, write_node
from everynode.errors import ConfigErrors
from everynode.model.policy import GroupPolicy, VaultPolicy


def errors_of(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read_cluster(text, "c.toml")
    return [str(error) for error in caught.value.errors]


def test_three_errors_give_three_located_errors_with_suggestions() -> None:
    text = """\
[nodes.alpha]
id = "x"
adresses = ["a:1"]

[groups.www]
root = "/srv/www"
conflict = "newst"

[groups.www.vault]
  generations = "many"
"""
    with pytest.raises(ConfigErrors) as caught:
        read_cluster(text, "c.toml")
    assert [(error.line, error.column) for error in caught.value.errors] == [(3, 1), (7, 1), (10, 3)]
    assert str(caught.value).splitlines() == [
        "c.toml:3:1: nodes.alpha.adresses: there is no such setting; did you mean addresses?",
        "c.toml:7:1: groups.www.conflict: 'newst' is not allowed; did you mean newest?",
        "c.toml:10:3: groups.www.vault.generations: expected a whole number, got a string: 'many'",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[grups]", "c.toml:1:2: grups: there is no such setting; did you mean groups?"),
        ("groups = 3", "c.toml:1:1: groups: expected a table, got a whole number: 3"),
        ("[groups]\nwww = 3", "c.toml:2:1: groups.www: this must be a table, not a number"),
        ("[groups.www]", "c.toml:1:9: groups.www: root is missing"),
        ("[groups.www]\nroot = 'srv'", "c.toml:2:1: groups.www.root: 'srv' cannot be a root"),
        ("[groups.www]\nroot = '/'", "c.toml:2:1: groups.www.root: '/' cannot be a root"),
        ("[groups.www]\nroot = '/a/../b'", "c.toml:2:1: groups.www.root: '/a/../b' cannot be a root"),
        ("[groups.'w w']\nroot = '/a'", "c.toml:1:9: groups.\"w w\": 'w w' cannot name a group"),
        ("[groups]\nwww = {root = '/a', settle_ms = -1}", "c.toml:2:21: groups.www.settle_ms: expected a whole number"),
        ("groups.www.root = '/a'\ngroups.www.sett = 1", "c.toml:2:12: groups.www.sett: there is no such setting; did"),
        ("[groups.w]\nroot='/a'\nexclude = ['é', '[']", "c.toml:3:17: groups.w.exclude[1]: '[' is no pattern"),
        ("[groups.w]\nroot='/a'\nexclude = [\n  'x', # y\n  7]", "c.toml:5:3: groups.w.exclude[1]: expected a string"),
        ("[groups.w]\nroot='/a'\nvault = {bytes = 1.5}", "c.toml:3:10: groups.w.vault.bytes: expected a whole number"),
        ("[nodes.a]\nid='x'\naddresses=['a:1', 'b']", "c.toml:3:19: nodes.a.addresses[1]: 'b' is no address"),
        ("[nodes.a]\nid='x'\naddresses=['a:99999']", "c.toml:3:12: nodes.a.addresses[0]: 'a:99999' is no address"),
        ("a = ", "c.toml:1:5: this is no TOML"),
        ("x = 1\nx = 2", "c.toml:2:6: this is no TOML"),
        ("[groups.w]\nroot = '/a'\nexclude = [", "c.toml:3:12: this is no TOML"),
    ],
)
def test_each_bad_setting_is_refused_where_it_stands(text: str, error: str) -> None:
    assert errors_of(text)[0].startswith(error), errors_of(text)


def test_the_cluster_file_survives_writing_and_reading() -> None:
    view = ClusterView(
        "ab",
        {"alpha": NodeTable("x", ("a:1", "[::1]:2")), "b.c": NodeTable("y")},
        {
            "www": GroupTable.of(
                "/srv/'w'", GroupPolicy(("*.tmp", 'a"b', "é\\ "), "largest", 7, VaultPolicy(1, 0.5, 9))
            ),
            "a.b": GroupTable.of("/x", GroupPolicy()),
        },
    )
    assert read_cluster(write_cluster(view), "c.toml")[0] == view
    assert read_cluster(write_cluster(ClusterView("ab")), "c.toml")[0] == ClusterView("ab")
    assert view.groups["www"].policy == GroupPolicy(("*.tmp", 'a"b', "é\\ "), "largest", 7, VaultPolicy(1, 0.5, 9))


def test_an_empty_text_is_all_defaults() -> None:
    assert read_cluster("", "c.toml")[0] == ClusterView()
    assert read_node("", "node.toml") == NodeSettings()


def test_node_settings_survive_writing_and_reading() -> None:
    settings = NodeSettings(("0.0.0.0:1", "[::]:1"), "/run/e.sock", {"www": "/data/www"}, ("/srv",), False)
    assert read_node(write_node(settings), "node.toml") == settings


def test_changing_a_root_keeps_the_comments_of_the_person_who_wrote_the_file() -> None:
    text = "# mine\nlisten = ['a:1'] # here\n"
    edited = edit_node(text, "www", "/data")
    assert "# mine" in edited and "# here" in edited
    assert read_node(edited, "node.toml") == NodeSettings(("a:1",), "", {"www": "/data"})
    assert read_node(edit_node(edited, "www", None), "node.toml").roots == {}


def test_every_error_of_node_settings_is_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        read_node("listen = ['nowhere']\nlisten_at = 1\napi = 'x'\n[roots]\nwww = 'srv'\n", "node.toml")
    assert [error.line for error in caught.value.errors] == [1, 2, 3, 5]
