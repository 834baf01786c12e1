"""Bad tokens, removed nodes, missing roots, full disks, unreadable files: each stops only itself, and says so."""

from __future__ import annotations

import os
import shutil
import time

from lab.namespaces import mount_tmpfs, unmount
from lab.trees import wait_until
from tests.cluster.harness import Cluster

SOMEBODY = 1000  # not root: a daemon without capabilities may only do what root as an owner may


def test_a_wrong_token_is_refused_and_changes_nothing() -> None:
    with Cluster(2, group=False) as cluster:
        stranger = cluster.add_node()
        for token in ("nonsense", _spoiled(cluster[0].invite())):
            done = stranger.ask("join", token, *stranger.place, "--root", str(stranger.root))
            assert done.returncode not in (0, 5)
            assert "token" in (done.stderr + done.stdout)
        assert not _is_member(cluster, 0, stranger.name)


def test_a_token_works_once() -> None:
    with Cluster(2, group=False) as cluster:
        token = cluster[0].invite()
        third, fourth = cluster.add_node(), cluster.add_node()
        third.join(token)
        done = fourth.ask("join", token, *fourth.place, "--root", str(fourth.root))
        assert done.returncode not in (0, 5)


def test_a_removed_node_is_refused_by_everybody() -> None:
    with Cluster(3) as cluster:
        cluster[0].cli("remove", cluster[2].name)

        def heard_by_both() -> bool:
            return not any(_is_member(cluster, number, cluster[2].name) for number in (0, 1))

        assert wait_until(heard_by_both, timeout=30, every=0.2)
        (cluster[0].root / "later").write_bytes(b"not for c")
        (cluster[2].root / "from-outside").write_bytes(b"not for a and b")
        cluster.wait_there(1, "later", b"not for c")
        time.sleep(3)  # an absence can only be waited for: more than a reconnect
        assert not (cluster[2].root / "later").exists()
        assert not (cluster[0].root / "from-outside").exists()
        assert not (cluster[1].root / "from-outside").exists()


def test_a_root_where_no_other_member_may_put_one_is_taken_when_somebody_on_the_node_says_so() -> None:
    with Cluster(2) as cluster:
        folder = cluster[0].root.parent
        hidden = folder / ".settings" / "app"
        cluster[0].cli("group", "add", "app", str(hidden))

        def trouble() -> str:
            groups = cluster[1].asks_json("group", "list")["groups"]
            return next((group["trouble"] for group in groups if group["name"] == "app"), "")

        assert wait_until(trouble, timeout=30, every=0.2)
        assert f"everynode group root app {hidden}" in trouble()
        assert "hidden directory" in cluster[1].ask("status").stdout
        own = folder / ".settings of b"
        cluster[1].cli("group", "root", "app", str(own))
        (hidden / "file").write_bytes(b"content")
        assert wait_until(lambda: (own / "file").exists(), timeout=30, every=0.2)
        assert trouble() == ""


def test_a_root_that_is_unmounted_halts_its_group_and_deletes_nothing_elsewhere() -> None:
    cluster = Cluster(2, group=False)
    root = cluster.new_tmpfs_root(1, size="32m")
    with cluster:
        cluster[0].add_group()
        cluster.wait_shared()
        cluster[1].stop()
        unmount(root)
        cluster[1].start()
        said = cluster.wait_said(1, "status", text="halted")
        assert str(root) in said
        (cluster[0].root / "later").write_bytes(b"later")
        time.sleep(2)  # an absence can only be waited for
        assert (cluster[0].root / "first").read_bytes() == b"first"
        assert not (root / "later").exists(), "nothing may be written under a mount point that is not mounted"


def test_a_root_that_is_unmounted_under_the_running_daemon_deletes_nothing_elsewhere() -> None:
    cluster = Cluster(2, group=False)
    root = cluster.new_tmpfs_root(1, size="32m")
    with cluster:
        cluster[0].add_group()
        cluster.wait_shared()
        unmount(root)
        (cluster[0].root / "later").write_bytes(b"later")
        cluster.wait_said(1, "status", text="halted", timeout=60)
        assert (cluster[0].root / "first").read_bytes() == b"first"
        assert not (root / "later").exists()


def test_a_root_that_was_emptied_with_its_marker_is_no_mass_deletion() -> None:
    with Cluster(2) as cluster:
        cluster[1].stop()
        os.rename(cluster[1].root, cluster[1].root.with_name("elsewhere"))
        cluster[1].root.mkdir()
        cluster[1].start()
        cluster.wait_said(1, "status", text="halted")
        assert (cluster[0].root / "first").read_bytes() == b"first"


def test_a_root_that_is_emptied_under_the_running_daemon_deletes_nothing_elsewhere() -> None:
    with Cluster(2) as cluster:
        a, b = cluster.nodes
        for number in range(20):
            (a.root / f"f{number}").write_bytes(b"%d" % number)
        cluster.wait_equal()
        # The marker goes first: from then on nothing that is missing is a deletion.
        shutil.rmtree(b.root / ".everynode")
        for path in b.root.iterdir():
            path.unlink()
        assert "marker" in cluster.wait_said(1, "status", text="halted")
        time.sleep(2)  # an absence can only be waited for
        assert len(list(a.root.glob("f*"))) == 21
        assert not list(b.root.iterdir()), "and nothing is written where the marker is missing"


def test_a_root_that_becomes_read_only_halts_its_group_and_goes_on_when_it_is_writable() -> None:
    cluster = Cluster(2, group=False)
    root = cluster.new_tmpfs_root(1, size="32m")
    with cluster:
        a, b = cluster.nodes
        a.add_group()
        cluster.wait_shared()
        mount_tmpfs(root, size="32m", options=("remount", "ro"))
        (a.root / "later").write_bytes(b"later")
        (a.root / "first").unlink()
        cluster.wait_said(1, "status", text="mounted read-only")
        assert b.ask("status").returncode == 1
        assert "in sync" not in a.ask("status").stdout.splitlines()[0]
        b.stop()
        b.start()
        cluster.wait_said(1, "status", text="mounted read-only")
        time.sleep(8)  # an absence can only be waited for: more than two tries
        assert b.alive() and sorted(path.name for path in root.iterdir()) == [".everynode", "first"]
        assert b.log.read_text().count("is halted") <= 3, "it is said when it changes, not at every try"
        mount_tmpfs(root, size="32m", options=("remount", "rw"))
        cluster.wait_there(1, "later", b"later", timeout=60)
        (root / "mine").write_bytes(b"mine")
        cluster.wait_there(0, "mine", b"mine")
        cluster.wait_equal()
        assert not (a.root / "first").exists()


def test_a_full_disk_stops_only_what_does_not_fit_and_ends_when_there_is_room() -> None:
    cluster = Cluster(2, group=False)
    root = cluster.new_tmpfs_root(1, size="8m")
    with cluster:
        cluster[0].add_group()
        cluster.wait_shared()
        (cluster[0].root / "too-big").write_bytes(os.urandom(20 << 20))
        cluster.wait_said(1, "status", text="problem")
        for number in range(20):
            (cluster[0].root / f"small{number}").write_bytes(b"%d" % number)
        for number in range(20):
            cluster.wait_there(1, f"small{number}", b"%d" % number)
        assert not (root / "too-big").exists()
        assert "too-big" in cluster.wait_said(1, "problems", text="too-big")
        mount_tmpfs(root, size="64m", options=("remount",))
        cluster.wait_equal(timeout=120)


def test_a_file_that_may_not_be_read_is_a_problem_of_its_own() -> None:
    with Cluster(2, powerless=True) as cluster:
        root = cluster[0].root
        secret = root.with_name("secret")
        secret.write_bytes(b"of somebody")
        secret.chmod(0o600)
        os.chown(secret, SOMEBODY, SOMEBODY)
        # It comes in as it is: written in place it would be read before it has its owner.
        secret = secret.rename(root / "secret")
        (root / "open").write_bytes(b"for all")
        cluster.wait_there(1, "open", b"for all")
        cluster.wait_said(0, "problems", text="secret")
        assert not (cluster[1].root / "secret").exists()
        secret.chmod(0o644)
        cluster.wait_there(1, "secret", b"of somebody", timeout=60)


def test_a_file_that_may_no_longer_be_read_is_not_deleted_elsewhere() -> None:
    with Cluster(2, powerless=True) as cluster:
        folder = cluster[0].root / "folder"
        folder.mkdir()
        (folder / "file").write_bytes(b"content")
        cluster.wait_there(1, "folder/file", b"content")
        cluster[0].stop()
        os.chown(folder, SOMEBODY, SOMEBODY)
        folder.chmod(0o700)
        cluster[0].start()
        cluster.wait_said(0, "problems", text="folder")
        assert (cluster[1].root / "folder/file").read_bytes() == b"content"


def _is_member(cluster: Cluster, number: int, name: str) -> bool:
    """Whether `members`, asked at one node, names the other."""
    return f'"{name}"' in cluster[number].cli("--json", "members")


def _spoiled(token: str) -> str:
    """The token with its last but one character exchanged: well formed, and wrong."""
    return token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
