"""What can be done to the membership without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from everynode.cluster.home import Home
from everynode.cluster.membership import Membership
from everynode.daemon.admin import Admin, open_admin
from everynode.errors import ConfigError, StoreError
from everynode.trust.token import parse_token


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    Membership.create(home, "a", ("127.0.0.1:7391",), ("127.0.0.1:7391",))
    return home


def test_groups_and_members_are_shown(home: Home, tmp_path: Path) -> None:
    with open_admin(str(home.path)) as admin:
        admin.add_group("www", str(tmp_path / "www"), ["*.tmp"], "largest")
        [group] = admin.groups()
        assert (group.name, group.exclude, group.conflict) == ("www", ("*.tmp",), "largest")
        assert group.root == group.path == str(tmp_path / "www")
        [member] = admin.members()
        assert (member.name, member.this) == ("a", True)


def test_only_the_maker_of_an_unchanged_group_is_its_founder(home: Home, tmp_path: Path) -> None:
    with open_admin(str(home.path)) as admin:
        admin.add_group("www", str(tmp_path / "www"), [], "newest")
        [group] = admin.membership.groups()
        assert admin.founded_here(group)
        text = admin.config_text().replace('"newest"', '"oldest"')
        assert len(admin.apply_config(text, "cluster.toml")) == 1
        assert not admin.founded_here(group)
        assert not admin.founded_here(b"x" * 16)


def test_checking_settings_changes_nothing(home: Home, tmp_path: Path) -> None:
    with open_admin(str(home.path)) as admin:
        admin.add_group("www", str(tmp_path / "www"), [], "newest")
        before = admin.config_text()
        assert admin.check_config(before.replace('"newest"', '"oldest"'), "cluster.toml")
        assert admin.config_text() == before
        with pytest.raises(ConfigError, match=r"cluster\.toml"):
            admin.apply_config(before.replace('"newest"', '"nicest"'), "cluster.toml")
        assert admin.config_text() == before


def test_an_invite_may_say_a_new_address_first(home: Home) -> None:
    with open_admin(str(home.path)) as admin:
        invitation = admin.invite(60, ["192.0.2.7:7391"])
        assert parse_token(invitation.token).addresses == ("192.0.2.7:7391",)
        assert admin.members()[0].addresses == ("192.0.2.7:7391",)


def test_the_first_root_waits_for_the_first_group(home: Home, tmp_path: Path) -> None:
    with open_admin(str(home.path)) as admin:
        admin.want_first_root(str(tmp_path / "mine"))
        admin.settle_first_root()
        admin.add_group("www", str(tmp_path / "theirs"), [], "newest")
    with open_admin(str(home.path)) as admin:
        admin.settle_first_root()
        [group] = admin.groups()
        assert (group.root, group.path) == (str(tmp_path / "mine"), str(tmp_path / "theirs"))
        admin.set_root("www", None)
        admin.settle_first_root()
        assert admin.groups()[0].root == str(tmp_path / "theirs")


def test_the_first_root_is_used_at_once_where_there_is_a_group(home: Home, tmp_path: Path) -> None:
    with open_admin(str(home.path)) as admin:
        admin.add_group("www", str(tmp_path / "theirs"), [], "newest")
        admin.want_first_root(str(tmp_path / "mine"))
        assert admin.groups()[0].root == str(tmp_path / "mine")
        with pytest.raises(ConfigError):
            admin.want_first_root("relative")


def test_two_do_not_change_one_home_at_once(home: Home) -> None:
    with open_admin(str(home.path)):
        with pytest.raises(StoreError, match="another everynode"):
            with open_admin(str(home.path)):
                pass


def test_a_damaged_pending_root_does_not_hide(home: Home) -> None:
    admin = Admin(Membership.load(home))
    (home.path / "first-root").write_bytes(b"relative")
    admin.add_group("www", "/srv/elsewhere", [], "newest")
    with pytest.raises(ConfigError):
        admin.settle_first_root()
