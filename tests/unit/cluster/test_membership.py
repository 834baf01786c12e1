from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from everynode.cluster.membership import Membership
from everynode.cluster.plan import apply_plan, make_plan, view_toml
from everynode.config.node_file import NodeSettings
from everynode.errors import ConfigError, ConfigErrors, TrustError
from everynode.model.ids import show_node
from everynode.model.message import Statements
from everynode.model.policy import GroupPolicy
from everynode.trust.statement_set import Changes
from tests.unit.cluster.conftest import Nodes

Gossip = Callable[..., None]


def names(member: Membership) -> list[str]:
    return sorted(m.name for m in member.members().values())


def groups(member: Membership) -> dict[str, str]:
    return {g.name: g.root for g in member.groups().values()}


def test_what_one_node_says_reaches_all_through_any_other(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    gamma = nodes.joined(beta, "gamma")
    gamma.group_add("www", "/srv/www")
    gossip(gamma, beta)
    gossip(beta, alpha)
    assert groups(alpha) == groups(nodes.again(alpha)) == {"www": "/srv/www"}
    assert names(alpha) == names(beta) == names(gamma) == ["alpha", "beta", "gamma"]
    assert alpha.announcement() == gamma.announcement()


def test_concurrent_changes_on_both_sides_are_equal_after_one_exchange(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.group_add("a", "/srv/a")
    beta.group_add("b", "/srv/b")
    gossip(alpha, beta)
    assert groups(alpha) == groups(beta) == {"a": "/srv/a", "b": "/srv/b"}
    assert alpha.answer_to(beta.announcement()) is None


def test_peers_that_refuse_each_other_s_statements_do_not_talk_in_circles(nodes: Nodes) -> None:
    alpha, other = nodes.first(), nodes.first("other")
    everything = alpha.answer_to(other.announcement())
    assert everything is not None
    assert not other.apply_statements(everything.statements)
    extras = other.answer_to(everything)
    assert extras is not None and alpha.apply_statements(extras.statements).rejected
    # What is not a whole cluster file is news; it is never answered.
    part = Statements(extras.statements[:1], extras.digest)
    assert alpha.answer_to(part) is None and alpha.answer_to(Statements((b"junk",), b"x")) is None


def test_the_listener_hears_of_every_change_after_it_is_durable(nodes: Nodes) -> None:
    alpha = nodes.first()
    heard: list[Changes] = []

    def listener(changes: Changes) -> None:
        assert nodes.again(alpha).announcement() == alpha.announcement()
        heard.append(changes)

    alpha.listener = listener
    alpha.group_add("www", "/srv/www")
    beta = nodes.joined(alpha, "beta")
    beta.group_add("more", "/srv/more")
    alpha.apply_statements(beta.everything().statements)
    alpha.apply_statements(beta.everything().statements)
    alpha.set_root("www", "/data/www")
    assert [len(changes.accepted) for changes in heard] == [1, 1, 1, 0]


def test_a_removed_node_is_no_member_once_heard_and_can_say_nothing(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta, gamma = nodes.joined(alpha, "beta"), nodes.joined(alpha, "gamma")
    gossip(alpha, beta, gamma)
    assert alpha.remove("gamma").node == gamma.node
    gossip(alpha, beta, gamma)
    for member in (alpha, beta, gamma):
        assert names(member) == ["alpha", "beta"]
    assert gamma.removed and not alpha.removed and beta.certificate_of(gamma.node) is None
    for change in (gamma.leave, gamma.invite, lambda: gamma.group_add("x", "/x"), lambda: gamma.remove("beta")):
        with pytest.raises(TrustError, match="no longer a member"):
            change()


def test_what_a_removed_node_had_made_stays_if_its_remover_knew_it(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    gamma = nodes.joined(beta, "gamma")
    beta.group_add("www", "/srv/www", GroupPolicy(settle_ms=7))
    beta.group_add("gone", "/srv/gone")
    beta.group_remove("gone")
    gossip(alpha, beta, gamma)
    alpha.remove("beta")
    beta.group_add("late", "/srv/late")
    gossip(alpha, beta, gamma)
    for member in (alpha, gamma, beta):
        assert names(member) == ["alpha", "gamma"] and groups(member) == {"www": "/srv/www"}
    assert [g.policy.settle_ms for g in gamma.groups().values()] == [7]
    gamma.group_add("new", "/srv/new")
    gossip(alpha, gamma)
    assert "new" in groups(alpha)


def test_the_node_that_began_the_cluster_may_be_removed_and_life_goes_on(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    beta = nodes.joined(alpha, "beta")
    beta.remove("alpha")
    gamma = nodes.joined(beta, "gamma")
    gossip(beta, gamma)
    assert names(gamma) == names(beta) == ["beta", "gamma"] and groups(gamma) == {"www": "/srv/www"}


def test_a_node_leaves_and_what_it_said_stays(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    gamma = nodes.joined(beta, "gamma")
    beta.group_add("www", "/srv/www")
    gossip(alpha, beta, gamma)
    beta.leave()
    gossip(alpha, beta, gamma)
    assert beta.removed and names(alpha) == names(gamma) == ["alpha", "gamma"]
    assert groups(gamma) == {"www": "/srv/www"}


def test_removing_oneself_the_last_node_or_an_unknown_one_is_refused(nodes: Nodes) -> None:
    alpha = nodes.first()
    with pytest.raises(ConfigError, match="use everynode leave"):
        alpha.remove("alpha")
    with pytest.raises(ConfigError, match="this is the last node"):
        alpha.leave()
    with pytest.raises(ConfigError, match=r"no node 'alpa'; did you mean alpha\?"):
        alpha.remove("alpa")
    assert names(nodes.again(alpha)) == ["alpha"]


def test_a_node_may_be_named_by_its_id_or_a_beginning_of_it(nodes: Nodes) -> None:
    alpha = nodes.first()
    beta, gamma = nodes.joined(alpha, "beta"), nodes.joined(alpha, "gamma")
    with pytest.raises(ConfigError, match="no node"):
        alpha.remove(show_node(beta.node)[:7])
    alpha.remove(show_node(beta.node)[:8])
    alpha.remove(show_node(gamma.node).upper())
    assert names(alpha) == ["alpha"]


def test_nodes_that_took_one_name_at_once_are_told_apart_alike_everywhere(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    one = nodes.joined(alpha, "twin")
    nodes.folder = nodes.folder / "elsewhere"
    two = nodes.joined(beta, "twin")
    gossip(alpha, beta, one, two)
    assert alpha.members() == two.members()
    later = max(one.node, two.node)
    assert alpha.members()[later].name == f"twin-{show_node(later)[:8]}"
    alpha.remove(f"twin-{show_node(later)[:8]}")
    assert names(alpha) == ["alpha", "beta", "twin"]


def test_groups_with_bad_names_or_roots_are_refused(nodes: Nodes) -> None:
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    home = str(alpha.home.path)
    for name, root, why in [
        ("www", "/srv/else", "there is a group www already"),
        ("w w", "/srv/else", "cannot name a group"),
        ("two", "relative", "cannot be a root"),
        ("two", "/", "cannot be a root"),
        ("two", "/srv/www", "lie in each other"),
        ("two", "/srv/www/below", "lie in each other"),
        ("two", "/srv", "lie in each other"),
        ("two", home, "home"),
        ("two", home + "/below", "home"),
        ("two", str(alpha.home.path.parent), "home"),
    ]:
        with pytest.raises(ConfigError, match=why):
            alpha.group_add(name, root)
    with pytest.raises(ConfigError, match=r"no group 'wwww'; did you mean www\?"):
        alpha.group_remove("wwww")
    assert groups(nodes.again(alpha)) == {"www": "/srv/www"}
    alpha.group_add("wwwx", "/srv/wwwx")


def test_roots_that_meet_through_a_link_are_refused(nodes: Nodes) -> None:
    alpha = nodes.first()
    (nodes.folder / "real").mkdir()
    (nodes.folder / "link").symlink_to(nodes.folder / "real")
    alpha.group_add("one", str(nodes.folder / "real"))
    with pytest.raises(ConfigError, match="lie in each other"):
        alpha.group_add("two", str(nodes.folder / "link/below"))


def test_a_root_of_this_node_alone_overrides_the_default(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.group_add("www", "/srv/www")
    alpha.group_add("logs", "/srv/logs")
    gossip(alpha, beta)
    beta.set_root("www", "/data/www")
    assert groups(nodes.again(beta)) == {"www": "/data/www", "logs": "/srv/logs"} == groups(beta)
    assert groups(alpha)["www"] == "/srv/www"
    for group, root, why in [
        ("www", "/srv/logs/x", "lie in each other"),
        ("w", "/x", "no group"),
        ("www", "x", "root"),
    ]:
        with pytest.raises(ConfigError, match=why):
            beta.set_root(group, root)
    beta.set_root("www", None)
    assert groups(nodes.again(beta))["www"] == "/srv/www"


def test_a_group_from_elsewhere_whose_root_overlaps_here_is_in_trouble_and_the_older_one_is_not(
    nodes: Nodes, gossip: Gossip
) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    old = alpha.group_add("old", "/srv/old")
    gossip(alpha, beta)
    beta.set_root("old", "/srv/new/inside")
    beta.home.index_path(old).write_bytes(b"")
    alpha.group_add("new", "/srv/new")
    gossip(alpha, beta)
    assert {g.name: bool(g.trouble) for g in beta.groups().values()} == {"old": False, "new": True}
    assert not any(g.trouble for g in alpha.groups().values())


def test_a_member_puts_a_root_only_where_this_node_allows_it(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    beta.settings = msgspec.structs.replace(beta.settings, roots_within=("/srv", "/data"))
    for name, root in (("www", "/srv/www"), ("keys", "/root/.ssh"), ("far", "/srvelse"), ("own", "/etc/own")):
        alpha.group_add(name, root)
    gossip(alpha, beta)
    assert {g.name for g in beta.groups().values() if g.trouble} == {"keys", "far", "own"}
    beta.settings = msgspec.structs.replace(beta.settings, roots={"own": "/etc/own"})
    assert {g.name for g in beta.groups().values() if g.trouble} == {"keys", "far"}


REFUSED = (
    *(
        "/etc",
        "/etc/cron.d",
        "/usr/local/bin",
        "/var",
        "/var/lib/everynode",
        "/var/spool/cron",
        "/root",
        "/proc/1",
    ),
    *("/home", "/home/alice", "/home/alice/.ssh", "/srv/.git/hooks", "/dev", "/run/systemd/system", "/boot"),
)
TAKEN = ("/srv", "/srv/www", "/var/www", "/home/alice/work", "/data", "/opt/app", "/etcetera", "/dev/shm/x", "/mnt/a")


@pytest.mark.parametrize("root", [*REFUSED, *TAKEN])
def test_what_a_system_keeps_itself_in_is_no_place_for_roots_that_others_choose(
    nodes: Nodes, gossip: Gossip, root: str
) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.commit(lambda edit: edit.add_group("g", root, GroupPolicy()))  # as a member that means no good does
    gossip(alpha, beta)
    (found,) = beta.groups().values()
    assert bool(found.trouble) == (root in REFUSED)
    assert root in TAKEN or f"everynode group root g {root}" in found.trouble
    for settings in ({"roots": {"g": root}}, {"roots_within": ("/",)}):
        beta.settings = msgspec.structs.replace(NodeSettings(), **settings)
        (found,) = beta.groups().values()
        assert not found.trouble.startswith("the cluster file puts"), "somebody here said so"


def test_a_link_to_such_a_place_is_no_way_around(nodes: Nodes, gossip: Gossip, tmp_path: Path) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    (tmp_path / "link").symlink_to("/etc")
    alpha.commit(lambda edit: edit.add_group("g", f"{tmp_path}/link/new", GroupPolicy()))
    gossip(alpha, beta)
    assert [bool(group.trouble) for group in beta.groups().values()] == [True]


def test_who_adds_a_group_or_changes_its_root_on_a_node_consents_for_that_node(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.group_add("app", "/etc/app")
    alpha.group_add("www", "/srv/www")
    gossip(alpha, beta)
    assert alpha.home.read_settings().roots == {"app": "/etc/app"}, "only what needs it"
    assert {g.name: bool(g.trouble) for g in alpha.groups().values()} == {"app": False, "www": False}
    assert {g.name: bool(g.trouble) for g in beta.groups().values()} == {"app": True, "www": False}
    text = view_toml(alpha).replace("/srv/www", "/etc/www").replace("/etc/app", "/srv/app")
    apply_plan(alpha, make_plan(alpha, text, "c.toml"))
    gossip(alpha, beta)
    assert {g.name: g.root for g in alpha.groups().values()} == {"app": "/srv/app", "www": "/etc/www"}
    assert not any(g.trouble for g in alpha.groups().values())
    assert {g.name: bool(g.trouble) for g in beta.groups().values()} == {"app": False, "www": True}
    beta.set_root("www", "/etc/www")
    assert not any(g.trouble for g in beta.groups().values())


def test_a_root_of_its_own_stays_when_the_default_that_it_equals_is_changed(nodes: Nodes) -> None:
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    alpha.set_root("www", "/srv/www")
    apply_plan(alpha, make_plan(alpha, view_toml(alpha).replace("/srv/www", "/srv/web"), "c.toml"))
    assert [g.root for g in alpha.groups().values()] == ["/srv/www"]


def test_ties_are_kept_to_be_looked_at_until_somebody_decides(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    alpha.group_add("www", "/srv/www")
    gossip(alpha, beta)
    for member, settle in ((alpha, 1), (beta, 2)):
        text = view_toml(member).replace("settle_ms = 20", f"settle_ms = {settle}")
        apply_plan(member, make_plan(member, text, "c.toml"))
    gossip(alpha, beta)
    assert alpha.ties() == beta.ties() and len(nodes.again(alpha).ties()) == 1
    assert [g.policy for g in alpha.groups().values()] == [g.policy for g in beta.groups().values()]
    text = view_toml(alpha).replace("settle_ms = ", "settle_ms = 3")
    apply_plan(alpha, make_plan(alpha, text, "c.toml"))
    assert not alpha.ties()


def test_the_view_applied_to_itself_changes_nothing(nodes: Nodes) -> None:
    alpha = nodes.first()
    nodes.joined(alpha, "beta")
    alpha.group_add("www", "/srv/www", GroupPolicy(("*.tmp",), "largest"))
    alpha.set_root("www", "/data")
    assert make_plan(alpha, view_toml(alpha), "c.toml").steps == ()


def test_a_plan_says_all_that_it_does_and_does_it(nodes: Nodes, gossip: Gossip) -> None:
    alpha = nodes.first()
    beta = nodes.joined(alpha, "beta")
    gamma = nodes.joined(beta, "gamma")
    beta.group_add("www", "/srv/www")
    beta.group_add("old", "/srv/old")
    gossip(alpha, beta, gamma)
    text = f"""\
[nodes.alpha]
id = "{show_node(alpha.node)}"
addresses = ["alpha:7420", "10.0.0.1:1"]
[nodes.delta]
id = "{show_node(gamma.node)}"
addresses = ["gamma:7420"]
[groups.www]
root = "/srv/www"
exclude = ["*.tmp"]
vault = {{generations = 2}}
[groups.new]
root = "/srv/new"
"""
    plan = make_plan(alpha, text, "c.toml")
    assert [step.text for step in plan.steps] == [
        "node alpha is reached at alpha:7420, 10.0.0.1:1",
        "node gamma is renamed to delta",
        "node beta is removed for good",
        "group www: exclude [] -> ['*.tmp'], vault.generations 5 -> 2",
        "group new is added, root /srv/new",
        "group old is removed, its trees stay where they are",
    ]
    assert names(alpha) == ["alpha", "beta", "gamma"]
    apply_plan(alpha, plan)
    gossip(alpha, gamma)
    for member in (alpha, gamma, nodes.again(alpha)):
        assert names(member) == ["alpha", "delta"] and groups(member) == {"new": "/srv/new", "www": "/srv/www"}
        assert {g.policy.exclude for g in member.groups().values()} == {(), ("*.tmp",)}
        assert member.members()[alpha.node].addresses == ("alpha:7420", "10.0.0.1:1")


def test_a_plan_is_not_applied_to_what_has_changed_meanwhile(nodes: Nodes) -> None:
    alpha = nodes.first()
    plan = make_plan(alpha, view_toml(alpha) + "[groups.www]\nroot = '/srv/www'\n", "c.toml")
    alpha.group_add("other", "/srv/other")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        apply_plan(alpha, plan)
    assert groups(alpha) == {"other": "/srv/other"}


def test_what_only_the_membership_can_tell_is_wrong_is_refused_with_its_place(nodes: Nodes) -> None:
    alpha = nodes.first()
    alpha.group_add("www", "/srv/www")
    text = f"""\
cluster = "{"0" * 64}"
[nodes.beta]
id = "nobody"
[groups.renamed]
root = "/srv/www"
[groups.inner]
root = "/srv/www/inner"
"""
    with pytest.raises(ConfigErrors) as caught:
        make_plan(alpha, text, "c.toml")
    told = [(error.line, str(error).split(": ", 2)[1]) for error in caught.value.errors]
    assert told == [(1, "cluster"), (2, "nodes"), (3, "nodes.beta.id"), (4, "groups.renamed"), (7, "groups.inner.root")]
    assert groups(alpha) == {"www": "/srv/www"}


def test_creating_again_after_a_crash_before_the_end_succeeds(nodes: Nodes) -> None:
    alpha = nodes.first()
    alpha.home.cluster_path.unlink()
    again = nodes.first()
    assert again.node == alpha.node and again.cluster != alpha.cluster
