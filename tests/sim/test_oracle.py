"""The oracle against histories made by hand: it finds each planted fault, and nothing where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from everynode.model.ids import NodeId
from tests.sim.oracle import Oracle
from tests.sim.promises import Content, Vault
from tests.sim.user import Seen, Tree

A, B = NodeId(b"A" * 16), NodeId(b"B" * 16)
DIRECTORY = Seen("directory", b"", 0o755, 0, 0, 0)
NO_VAULT: Vault = frozenset()


def file(content: bytes, mtime_ns: int = 1) -> Seen:
    return Seen("file", content, 0o644, 0, 0, mtime_ns)


class History:
    """Two nodes, one path unless said otherwise."""

    def __init__(self) -> None:
        self.oracle = Oracle()
        self.time = 0.0

    def act(
        self,
        node: NodeId,
        before: Seen | None,
        after: Seen | None,
        *,
        path: bytes = b"p",
        vault: frozenset[Content] = frozenset(),
    ) -> None:
        self.time += 10
        self.oracle.acted(node, self.time, path, before, after, vault)

    def judge(self, at_a: Tree, at_b: Tree | None = None, *, vaults: tuple[Seen, ...] = ()) -> list[str]:
        """The rules that were broken."""
        vault = frozenset((s.kind, s.content) for s in vaults)
        found = self.oracle.judge({A: at_a, B: at_a if at_b is None else at_b}, {A: vault, B: vault})
        return [text.partition(":")[0] for text in found]


@pytest.fixture
def history() -> History:
    return History()


X, Y, Z = file(b"x"), file(b"y"), file(b"z")


def test_a_quiet_history_is_right(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, Y)
    history.act(A, None, Z, path=b"q")
    history.act(B, Z, None, path=b"q")
    assert history.judge({b"p": Y}) == []


def test_two_trees_that_differ_are_a_divergence(history: History) -> None:
    history.act(A, None, X)
    assert history.judge({b"p": X}, {}) == ["convergence"]
    assert history.judge({b"p": X}, {b"p": file(b"x", 2)}) == ["convergence"]


def test_a_content_that_nobody_replaced_must_stay(history: History) -> None:
    history.act(A, None, X)
    assert history.judge({}) == ["lost update"]
    assert history.judge({}, vaults=(X,)) == ["lost update"], "an edit beats a deletion"


def test_the_loser_of_a_conflict_must_be_in_every_vault(history: History) -> None:
    history.act(A, None, X)
    history.act(B, None, Y)
    assert history.judge({b"p": Y}) == ["lost update"]
    assert history.judge({b"p": Y}, vaults=(X,)) == []
    only_a = {A: frozenset({("file", b"x")}), B: frozenset[Content]()}
    assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_a) != []


def test_a_local_change_may_replace_the_losers_that_its_vault_holds(history: History) -> None:
    history.act(A, None, X)
    history.act(B, None, Y)
    history.act(B, Y, Z, vault=frozenset({("file", b"x")}))
    assert history.judge({b"p": Z}) == []


def test_a_local_change_may_not_replace_what_was_only_heard(history: History) -> None:
    history.act(A, None, X)
    history.act(B, None, Y)
    history.act(B, Y, Z)
    assert history.judge({b"p": Z}) == ["lost update"]


def test_what_was_deleted_where_it_was_seen_must_not_come_back(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, None)
    assert history.judge({b"p": X}) == ["resurrection"]
    assert history.judge({}) == []


def test_an_old_content_must_not_win_over_the_one_that_replaced_it(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, Y)
    assert sorted(history.judge({b"p": X}, vaults=(Y,))) == ["resurrection"]
    assert sorted(history.judge({b"p": X})) == ["lost update", "resurrection"]


def test_what_is_made_again_may_stand_again(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, None)
    history.act(A, None, X)
    assert history.judge({b"p": X}) == []
    assert history.judge({}) == ["lost update"]


def test_an_edit_beats_a_concurrent_deletion(history: History) -> None:
    history.act(A, None, X)
    history.act(A, X, Y)
    history.act(B, X, None)
    assert history.judge({b"p": Y}) == []
    assert history.judge({}) == ["lost update"]


def test_a_rename_moves_what_is_owed(history: History) -> None:
    history.act(A, None, X)
    history.act(A, X, None)
    history.act(A, None, X, path=b"q")
    assert history.judge({b"q": X}) == []
    assert history.judge({b"p": X, b"q": X}) == ["resurrection"]
    assert history.judge({}) == ["lost update"]


def test_a_directory_may_keep_the_name_while_the_file_is_in_the_vault(history: History) -> None:
    history.act(A, None, X)
    history.act(B, None, DIRECTORY)
    assert history.judge({b"p": DIRECTORY}, vaults=(X,)) == []
    assert history.judge({b"p": DIRECTORY}) == ["lost update"]


def test_what_nobody_wrote_must_not_show(history: History) -> None:
    history.act(A, None, X)
    assert history.judge({b"p": X, b"q": file(b"half")}) == ["invention"]
    assert history.judge({b"p": file(b"x", 7)}) == ["invention"], "attributes of nobody"
    history.oracle.placed(B, 1.0, b"p", file(b"hal"))
    assert history.judge({b"p": X}) == ["invention"]


def test_the_daemon_must_not_write_in_the_tree_itself(history: History) -> None:
    history.oracle.wrote_in_place(A, b"p", "modified")
    assert history.judge({}) == ["in place"]


def test_attributes_keep_from_deletion_and_not_from_replacement(history: History) -> None:
    touched = file(b"x", 5)
    history.act(A, None, X)
    history.act(B, X, Y)
    history.act(A, X, touched)
    assert history.judge({b"p": Y}) == []
    other = History()
    other.act(A, None, X)
    other.act(B, X, None)
    other.act(A, X, touched)
    assert other.judge({b"p": touched}) == []
    assert other.judge({}) == ["lost update"]


def test_a_touch_that_changes_nothing_is_owed_nothing(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, None)
    history.act(A, X, X)
    assert history.judge({}) == []


class TestRenamedDirectory:
    """The daemon of B places what A wrote, at the moment in which a user of B renames the directory."""

    @pytest.fixture(autouse=True)
    def _written(self, history: History) -> None:
        history.act(A, None, X, path=b"d/p")
        history.oracle.renamed(B, 20.0, b"d", b"e")

    def test_what_is_placed_in_it_then_came_along(self, history: History) -> None:
        history.oracle.placed(B, 20.0, b"e/p", X)
        assert history.judge({b"e/p": X}) == []
        assert history.judge({}) == ["lost update"]

    def test_what_is_placed_later_did_not(self, history: History) -> None:
        history.oracle.placed(B, 21.0, b"e/p", X)
        assert sorted(history.judge({b"e/p": X})) == ["invention", "lost update"]

    def test_nor_did_what_is_placed_elsewhere_or_by_others(self, history: History) -> None:
        history.oracle.placed(B, 20.0, b"f/p", X)
        history.oracle.placed(B, 20.0, b"e/q", X)
        history.oracle.placed(A, 20.0, b"e/p", X)
        assert history.judge({}) == ["lost update"]

    def test_nor_did_what_is_exchanged_with_what_came_along(self, history: History) -> None:
        history.oracle.acted(B, 20.0, b"e/p", None, Y, NO_VAULT)
        history.oracle.placed(B, 20.0, b"e/p", X)
        history.oracle.placed(B, 20.0, b"e/p", Y)
        assert history.judge({b"d/p": X, b"e/p": Y}) == []

    def test_nor_did_what_belongs_there(self, history: History) -> None:
        history.act(A, None, X, path=b"e/p")
        history.oracle.placed(B, 20.0, b"e/p", X)
        assert history.judge({b"e/p": X}) == ["lost update"]


def test_a_write_in_the_tick_in_which_the_daemon_moves_the_file_may_count_for_either_name(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, Y)
    history.oracle.moved_in_the_tick_of_a_write(B, history.time, b"p", b"q", Y)
    assert history.judge({b"q": Y}) == []
    assert history.judge({}) == ["lost update"]


def test_an_earlier_write_counts_for_the_name_that_it_was_for(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, Y)
    history.oracle.moved_in_the_tick_of_a_write(B, history.time + 1, b"p", b"q", Y)
    assert sorted(history.judge({b"q": Y})) == ["invention", "lost update"]


class TestPowerCut:
    def test_what_nobody_else_had_may_be_gone(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.power_cut(A, 20.0, {b"p": X}, {}, NO_VAULT, [({}, NO_VAULT)])
        assert history.judge({}) == []

    def test_what_others_had_must_come_back(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.power_cut(A, 20.0, {b"p": X}, {b"p": file(b"")}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert history.judge({b"p": X}) == []
        assert sorted(history.judge({b"p": file(b"")}, vaults=(X,))) == ["invention", "lost update"]
        assert history.judge({}) == ["lost update"]

    def test_what_the_cut_left_must_not_take_the_place_of_what_all_others_had(self, history: History) -> None:
        history.act(A, None, X)
        history.act(A, X, Y)
        history.oracle.power_cut(A, 30.0, {b"p": Y}, {b"p": file(b"")}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert history.judge({b"p": X}) == []
        assert history.judge({b"p": file(b"")}) == ["spread damage"]

    @pytest.mark.parametrize(("seen_until", "found"), [(15.0, []), (25.0, ["spread damage"])])
    def test_what_it_left_of_what_no_daemon_had_looked_at_is_taken_for_what_was_written(
        self, history: History, seen_until: float, found: list[str]
    ) -> None:
        history.act(A, None, X)
        history.act(A, X, Y)
        others = [({b"p": X}, NO_VAULT)]
        history.oracle.power_cut(A, 30.0, {b"p": Y}, {b"p": file(b"")}, NO_VAULT, others, seen_until)
        assert history.judge({b"p": file(b"")}, vaults=(X,)) == found
        history.act(A, file(b""), file(b"", 3))
        assert history.judge({b"p": file(b"", 3)}) == [], "a user decided"

    def test_what_the_cut_left_may_stand_where_others_had_nothing(self, history: History) -> None:
        history.act(A, None, Y)
        history.oracle.power_cut(A, 30.0, {b"p": Y}, {b"p": file(b"")}, NO_VAULT, [({}, NO_VAULT)])
        assert history.judge({b"p": file(b"")}) == []

    def test_an_old_content_must_not_win_again_through_a_cut(self, history: History) -> None:
        history.act(A, None, X)
        history.act(A, X, Y)
        history.oracle.power_cut(A, 30.0, {b"p": Y}, {b"p": X}, NO_VAULT, [({b"p": Y}, NO_VAULT)])
        assert "resurrection" in history.judge({b"p": X})

    def test_what_its_author_alone_had_and_replaced_by_what_the_cut_took_condemns_nothing(
        self, history: History
    ) -> None:
        for before, after in ((None, X), (X, Y), (Y, Z)):
            history.act(A, before, after)
        history.oracle.power_cut(A, 40.0, {b"p": Z}, {b"p": file(b"")}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert history.judge({b"p": X}) == []

    def test_what_somebody_else_had_before_the_cut_must_not_make_place_for_what_it_replaced(
        self, history: History
    ) -> None:
        for before, after in ((None, X), (X, Y), (Y, Z)):
            history.act(A, before, after)
        history.oracle.power_cut(
            A, 40.0, {b"p": Z}, {b"p": file(b"")}, NO_VAULT, [({b"p": Y}, NO_VAULT), ({b"p": X}, NO_VAULT)]
        )
        assert history.judge({b"p": X}) == ["resurrection"]

    def test_a_deletion_that_the_cut_took_back_condemns_nothing(self, history: History) -> None:
        history.act(A, None, X)
        history.act(A, X, None)
        history.oracle.power_cut(A, 30.0, {}, {b"p": X}, NO_VAULT, [({}, NO_VAULT)])
        assert history.judge({b"p": X}) == []
        assert history.judge({}) == []

    @pytest.mark.parametrize(("ended", "found"), [(10.5, []), (12.0, ["lost update"])])
    def test_what_was_swapped_out_just_before_a_crash_may_go_with_the_vault(
        self, history: History, ended: float, found: list[str]
    ) -> None:
        history.act(A, None, X)
        history.act(B, None, Y)
        power_cut = history.oracle.power_cut
        taken = frozenset({("file", b"x")})
        power_cut(A, 20.0, {}, {}, NO_VAULT, [({b"p": Y}, NO_VAULT)], taken=taken, alive_until=ended)
        assert history.judge({b"p": Y}) == found

    def test_what_somebody_else_has_does_not_go_with_a_vault(self, history: History) -> None:
        history.act(A, None, X)
        taken = frozenset({("file", b"x")})
        history.oracle.power_cut(A, 20.0, {}, {}, NO_VAULT, [({}, taken)], taken=taken, alive_until=10.5)
        assert history.judge({}) == ["lost update"]

    def cut_at_a(self, history: History, left: Seen | None) -> None:
        tree = {} if left is None else {b"p": left}
        history.oracle.power_cut(A, history.time + 1, {b"p": X}, tree, NO_VAULT, [({b"p": X}, NO_VAULT)])

    @pytest.mark.parametrize("left", [None, file(b""), Z])
    def test_who_replaces_the_remains_of_what_was_written_there_decides(
        self, history: History, left: Seen | None
    ) -> None:
        history.act(A, None, X)
        self.cut_at_a(history, left)
        history.act(A, left, Y)
        assert history.judge({b"p": Y}, vaults=(X,)) == []
        only_b = {A: frozenset[Content](), B: frozenset({("file", b"x")})}
        assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_b) == []
        assert history.judge({b"p": Y}) == ["lost update"], "somebody had it"

    def test_remains_that_a_second_cut_shortens_still_are_remains(self, history: History) -> None:
        history.act(A, None, X)
        self.cut_at_a(history, file(b"half"))
        history.oracle.power_cut(A, 20.0, {b"p": file(b"half")}, {}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        history.act(A, None, Y)
        only_b = {A: frozenset[Content](), B: frozenset({("file", b"x")})}
        assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_b) == []

    def test_who_replaces_the_remains_of_what_others_wrote_decides_nothing(self, history: History) -> None:
        history.act(B, None, X)
        self.cut_at_a(history, None)
        history.act(A, None, Y)
        only_b = {A: frozenset[Content](), B: frozenset({("file", b"x")})}
        assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_b) != []

    def test_remains_in_whose_place_the_daemon_put_something_are_none(self, history: History) -> None:
        history.act(A, None, X)
        self.cut_at_a(history, None)
        history.oracle.placed(A, 12.0, b"p", X)
        history.act(A, None, Y)
        only_b = {A: frozenset[Content](), B: frozenset({("file", b"x")})}
        assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_b) != []

    def test_what_no_user_touched_after_the_cut_is_missed(self, history: History) -> None:
        history.act(A, None, X)
        self.cut_at_a(history, file(b""))
        history.act(A, file(b""), file(b"", 7))
        history.act(B, None, Y)
        only_b = {A: frozenset[Content](), B: frozenset({("file", b"x")})}
        assert history.oracle.judge({A: {b"p": Y}, B: {b"p": Y}}, only_b) != []


class TestWhatWasWrittenToAReplacedFile:
    """A opens X; B replaces it, so that the file of A gets into the vault; there A finishes Z."""

    def write(self, history: History, *others: Seen | None, vaulted: bool = True) -> Oracle:
        oracle = history.oracle
        history.act(A, None, X)
        oracle.acted(A, 11.0, b"p", X, file(b""), NO_VAULT, finished=False)
        oracle.acted(B, 12.0, b"p", X, Y, NO_VAULT)
        before: Seen | None = Y
        for after in others:
            oracle.acted(A, 13.0, b"p", before, after, NO_VAULT)
            before = after
        oracle.acted(A, 14.0, b"p", X, Z, NO_VAULT).vaulted = vaulted
        return oracle

    def judge(self, oracle: Oracle, final: Seen | None, *vaults: Seen) -> list[str]:
        tree: Tree = {} if final is None else {b"p": final}
        at_a: Vault = frozenset((s.kind, s.content) for s in vaults)
        return [text.partition(":")[0] for text in oracle.judge({A: tree, B: tree}, {A: at_a, B: NO_VAULT})]

    def test_it_is_a_change_like_any_other(self, history: History) -> None:
        assert self.judge(self.write(history), Y, Y, Z) == ["lost update"]

    def test_after_another_content_of_that_node_its_vault_is_enough(self, history: History) -> None:
        oracle = self.write(history, file(b"w"))
        assert self.judge(oracle, file(b"w"), Z) == []
        assert self.judge(oracle, file(b"w")) == ["lost update"]

    def test_after_a_deletion_it_is_not(self, history: History) -> None:
        assert self.judge(self.write(history, None), None, Z) == ["lost update"]
        history.oracle.acts.clear()
        assert self.judge(self.write(history, file(b"w"), None), None, Z) == ["lost update"]

    def test_nor_is_it_for_what_did_not_lie_in_the_vault(self, history: History) -> None:
        assert self.judge(self.write(history, file(b"w"), vaulted=False), file(b"w"), Z) == ["lost update"]


def test_what_came_before_the_first_look_after_a_power_cut_is_at_least_in_that_nodes_vault(history: History) -> None:
    history.act(A, None, X)
    history.oracle.acted(B, 15.0, b"p", X, Y, frozenset(), early=True)
    assert history.judge({b"p": X}) == ["lost update"]
    only_b = {A: frozenset[Content](), B: frozenset({("file", b"y")})}
    assert history.oracle.judge({A: {b"p": X}, B: {b"p": X}}, only_b) == []


class TestCrash:
    def test_what_was_placed_just_before_may_not_have_been_seen(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.placed(B, 19.9, b"p", X)
        history.act(B, X, None)
        history.oracle.crashed(B, 20.5)
        assert history.judge({b"p": X}) == []
        assert history.judge({}) == []

    def test_what_was_placed_long_before_was_seen(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.placed(B, 11.0, b"p", X)
        history.act(B, X, None)
        history.oracle.crashed(B, 20.5)
        assert history.judge({b"p": X}) == ["resurrection"]

    @pytest.mark.parametrize(("opened", "found"), [(20.4, []), (None, ["resurrection"])])
    def test_who_held_it_open_since_before_the_crash_was_never_seen_to_have_it(
        self, history: History, opened: float | None, found: list[str]
    ) -> None:
        history.act(A, None, X)
        history.oracle.placed(B, 19.9, b"p", X)
        if opened is not None:
            history.oracle.acted(B, opened, b"p", X, file(b"half"), NO_VAULT, finished=False)
        history.oracle.crashed(B, 20.5)
        history.oracle.acted(B, 30.0, b"p", X, Y, NO_VAULT)
        assert history.judge({b"p": X}, vaults=(Y,)) == found

    def test_what_was_moved_away_and_back_while_no_daemon_ran_was_not_made_again(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, None)
        history.act(B, None, X)
        history.act(A, X, Y)
        assert history.judge({b"p": X}, vaults=(Y,)) == []
        history.oracle.nobody_looked(B, 15.0, {b"p": X}, {b"p": X})
        assert history.judge({b"p": Y}) == []
        assert "resurrection" in history.judge({b"p": X})

    def test_what_is_otherwise_than_before_was_changed(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, None)
        history.act(B, None, Z)
        history.oracle.nobody_looked(B, 15.0, {b"p": X}, {b"p": Z})
        assert history.judge({}) == ["lost update"]
        history.oracle.nobody_looked(B, 25.0, {}, {b"p": Z})
        assert history.judge({}) == ["lost update"]


class TestAcknowledged:
    @pytest.fixture(autouse=True)
    def _acknowledged(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.acknowledged(A, 11.0, b"p", ("file", b"x"), frozenset({A, B}))

    def test_what_is_there_is_right(self, history: History) -> None:
        assert history.judge({b"p": X}) == []

    def test_what_a_power_cut_takes_is_missed(self, history: History) -> None:
        history.oracle.power_cut(B, 20.0, {b"p": X}, {}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert history.judge({b"p": X}) == ["durability"]

    def test_a_blackout_of_all_is_no_excuse(self, history: History) -> None:
        for node in (A, B):
            history.oracle.power_cut(node, 20.0, {b"p": X}, {}, NO_VAULT, [({}, NO_VAULT)])
        assert history.judge({}) == ["durability", "durability"]

    def test_the_vault_keeps_it_too(self, history: History) -> None:
        history.act(B, X, Y)
        assert history.judge({b"p": Y}, vaults=(X,)) == []
        assert history.judge({b"p": Y}) == ["durability"]

    def test_it_may_be_taken_by_a_user_of_that_node_alone(self, history: History) -> None:
        history.act(B, X, Y)
        history.oracle.power_cut(B, 20.0, {}, {}, NO_VAULT, [])
        assert history.oracle.violations == []
        history.oracle.power_cut(A, 20.0, {}, {}, NO_VAULT, [])
        assert [text.partition(":")[0] for text in history.oracle.violations] == ["durability"]


def test_a_file_that_was_closed_while_no_daemon_ran_is_finished(history: History) -> None:
    history.oracle.acted(A, 10.0, b"p", None, X, NO_VAULT, finished=False)
    history.oracle.acted(A, 20.0, b"p", None, X, NO_VAULT)
    history.oracle.nobody_looked(A, 15.0, {b"p": X}, {b"p": X})
    assert history.judge({b"p": X}) == []
    assert history.judge({}) == ["lost update"]


class TestRestored:
    """The disk of A is brought back to when it held nothing."""

    def restore(self, history: History, at_b: Tree, *, kept: Vault = NO_VAULT) -> None:
        history.oracle.restored(A, 50.0, {b"p": X}, {}, NO_VAULT, [(at_b, NO_VAULT)], kept)

    def test_what_others_have_must_come_back(self, history: History) -> None:
        history.act(A, None, X)
        self.restore(history, {b"p": X})
        assert history.judge({b"p": X}) == []
        assert history.judge({}) == ["lost update"]

    def test_what_nobody_else_had_is_gone(self, history: History) -> None:
        history.act(A, None, X)
        self.restore(history, {})
        assert history.judge({}) == []

    def test_what_was_deleted_stays_deleted(self, history: History) -> None:
        history.act(A, None, X)
        history.act(A, X, None)
        history.oracle.restored(A, 50.0, {}, {b"p": X}, NO_VAULT, [({}, NO_VAULT)])
        assert history.judge({}) == []

    def test_what_it_acknowledged_is_its_owners_loss(self, history: History) -> None:
        history.act(B, None, X)
        history.oracle.acknowledged(B, 11.0, b"p", ("file", b"x"), frozenset({A, B}))
        history.act(B, X, Y)
        self.restore(history, {b"p": Y})
        assert history.judge({b"p": Y}) == [], "B took it from itself, and A's owner from A"

    def test_what_was_kept_in_its_vault_alone_goes_with_it(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.acts[b"p"][0].early = True
        history.act(B, None, Y)
        history.oracle.restored(A, 50.0, {}, {}, NO_VAULT, [({b"p": Y}, NO_VAULT)], frozenset({("file", b"x")}))
        assert history.judge({b"p": Y}) == []

    def test_nothing_else_goes_with_a_vault(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, None, Y)
        history.oracle.restored(A, 50.0, {}, {}, NO_VAULT, [({b"p": Y}, NO_VAULT)], frozenset({("file", b"x")}))
        assert history.judge({b"p": Y}) == ["lost update"]


class TestRemoved:
    """B is no member any more."""

    def judge(self, history: History, at_a: Tree) -> list[str]:
        found = history.oracle.judge({A: at_a}, {A: NO_VAULT})
        return [text.partition(":")[0] for text in found]

    def test_what_nobody_else_has_is_gone_with_it(self, history: History) -> None:
        history.act(B, None, X)
        history.oracle.removed(B, {b"p": X}, NO_VAULT, [({}, NO_VAULT)])
        assert self.judge(history, {}) == []

    def test_what_somebody_else_has_stays(self, history: History) -> None:
        history.act(B, None, X)
        history.oracle.removed(B, {b"p": X}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert self.judge(history, {}) == ["lost update"]

    def test_what_it_replaced_may_stand_again_when_nobody_heard_of_that(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, Y)
        history.oracle.removed(B, {b"p": Y}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert self.judge(history, {b"p": X}) == []

    def test_attributes_that_it_changed_are_as_before_where_nobody_heard_of_that(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, replace(X, mode=0o700))
        history.oracle.removed(B, {b"p": replace(X, mode=0o700)}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert self.judge(history, {b"p": X}) == []

    def test_attributes_of_which_others_heard_do_not_come_back(self, history: History) -> None:
        changed = replace(X, mode=0o700)
        history.act(A, None, X)
        history.act(B, X, changed)
        history.oracle.removed(B, {b"p": changed}, NO_VAULT, [({b"p": changed}, NO_VAULT)])
        assert self.judge(history, {b"p": X}) == ["resurrection"]

    def test_what_it_deleted_may_stay_where_that_was_not_heard(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, None)
        history.oracle.removed(B, {}, NO_VAULT, [({b"p": X}, NO_VAULT)])
        assert self.judge(history, {b"p": X}) == []

    def test_it_may_not_where_it_was(self, history: History) -> None:
        history.act(A, None, X)
        history.act(B, X, None)
        history.oracle.removed(B, {}, NO_VAULT, [({}, NO_VAULT)])
        assert self.judge(history, {b"p": X}) == ["resurrection"]


def test_what_a_writer_replaced_for_a_while_is_told_by_his_close(history: History) -> None:
    history.act(A, None, X)
    history.oracle.acted(B, 20.0, b"p", X, file(b""), NO_VAULT, finished=False)
    assert history.judge({b"p": X}) == []
    history.oracle.acted(B, 30.0, b"p", X, Y, NO_VAULT)
    assert "resurrection" in history.judge({b"p": X})


class TestGivenUp:
    """The disk of A was full, and what had been acknowledged left the vault."""

    @pytest.fixture(autouse=True)
    def _given_up(self, history: History) -> None:
        history.act(A, None, X)
        history.oracle.acknowledged(A, 11.0, b"p", ("file", b"x"), frozenset({A}))
        history.oracle.gave_up(A, X)

    def test_what_somebody_replaced_may_go(self, history: History) -> None:
        history.act(B, X, Y)
        assert history.judge({b"p": Y}) == []

    def test_so_may_the_loser_that_somebody_had_in_his_vault(self, history: History) -> None:
        history.act(B, None, Y)
        history.act(B, Y, Z, vault=frozenset({("file", b"x")}))
        assert history.judge({b"p": Z}) == []

    def test_a_loser_about_whom_nobody_decided_may_not(self, history: History) -> None:
        history.act(B, None, Y)
        assert history.judge({b"p": Y}) != []

    def test_nor_may_what_was_replaced_at_another_path(self, history: History) -> None:
        history.act(B, X, Y, path=b"q")
        assert "durability" in history.judge({b"q": Y})

    def test_what_came_between_a_cut_and_the_first_look_may(self, history: History) -> None:
        history.act(B, None, Y)
        history.oracle.acts[b"p"][0].early = True
        history.oracle.promises.made.clear()
        assert history.judge({b"p": Y}) == []


def test_what_was_replaced_while_it_was_waited_for_is_promised_by_nobody(history: History) -> None:
    history.act(A, None, X)
    history.act(B, X, Y)
    history.oracle.acknowledged(A, 21.0, b"p", ("file", b"x"), frozenset({A, B}))
    assert history.judge({b"p": Y}) == []


def test_what_a_blackout_took_from_everybody_need_not_come_back(history: History) -> None:
    history.act(A, None, X)
    for node in (A, B):
        history.oracle.power_cut(node, 20.0, {b"p": X}, {}, NO_VAULT, [({}, NO_VAULT)])
    assert history.judge({}) == []
