"""Retention, for any vault: the bounds hold afterwards, nothing pinned goes, nothing goes needlessly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everynode.core.retention import Generation, surplus
from everynode.model.path import RelPath
from everynode.model.policy import VaultPolicy

DAY = 86_400 * 10**9
NOW = 100 * DAY
generations = st.lists(
    st.builds(
        Generation,
        st.binary(min_size=1, max_size=3),
        st.sampled_from([RelPath(b"a"), RelPath(b"b"), RelPath(b"c")]),
        st.integers(0, 50),
        st.integers(0, 100).map(lambda day: day * DAY),
        st.booleans(),
    ),
    max_size=12,
    unique_by=lambda generation: generation.name,
)
policies = st.builds(VaultPolicy, st.integers(0, 4), st.floats(0, 100), st.integers(0, 200))


@given(generations, policies, st.integers(0, 200), st.randoms())
def test_the_bounds_hold_and_nothing_goes_needlessly(
    several: list[Generation], policy: VaultPolicy, short: int, random: object
) -> None:
    out = surplus(several, policy, NOW, short)
    names = {g.name for g in out}
    assert len(names) == len(out)
    assert not any(g.pinned for g in out)
    assert [(g.kept_ns, g.name) for g in out] == sorted((g.kept_ns, g.name) for g in out)
    left = [g for g in several if g.name not in names and not g.pinned]
    oldest = NOW - int(policy.age_days * DAY)
    assert all(g.kept_ns >= oldest for g in left)
    for path in {g.path for g in left}:
        assert sum(g.path == path for g in left) <= policy.generations
    assert sum(g.bytes for g in left) <= policy.bytes or not left
    assert sum(g.bytes for g in out) >= short or not left
    _needless(several, out, left, policy, short)
    assert surplus(list(reversed(several)), policy, NOW, short) == out


def _needless(
    several: list[Generation], out: list[Generation], left: list[Generation], policy: VaultPolicy, short: int
) -> None:
    """The newest that went could not have stayed."""
    oldest = NOW - int(policy.age_days * DAY)
    for one in out:
        newer = [
            g for g in several if g.path == one.path and not g.pinned and (g.kept_ns, g.name) > (one.kept_ns, one.name)
        ]
        if one.kept_ns < oldest or len(newer) >= policy.generations:
            continue
        # Given up for its bytes: then everything that stayed is newer, and without it a bound would be broken.
        assert all((g.kept_ns, g.name) > (one.kept_ns, one.name) for g in left)
        later = [
            g for g in out if (g.kept_ns, g.name) > (one.kept_ns, one.name) and g in _for_bytes(several, out, policy)
        ]
        if not later:
            total = sum(g.bytes for g in left) + one.bytes
            assert total > policy.bytes or sum(g.bytes for g in out) - one.bytes < short


def _for_bytes(several: list[Generation], out: list[Generation], policy: VaultPolicy) -> list[Generation]:
    oldest = NOW - int(policy.age_days * DAY)
    return [
        one
        for one in out
        if one.kept_ns >= oldest
        and sum(g.path == one.path and not g.pinned and (g.kept_ns, g.name) > (one.kept_ns, one.name) for g in several)
        < policy.generations
    ]
