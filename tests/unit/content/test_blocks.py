"""Recent block lists are kept, within bounds."""

from everynode.content.blocks import BlockLists
from everynode.model.ids import Digest


def test_the_least_recently_used_list_goes_first() -> None:
    lists = BlockLists(bytes_max=100)
    names = [Digest(bytes([n]) * 32) for n in range(3)]
    for name in names[:2]:
        lists.add(name, b"x" * 50)
    assert lists.get(names[0]) == b"x" * 50
    lists.add(names[2], b"y" * 50)
    assert lists.get(names[1]) is None
    assert lists.get(names[0]) is not None and lists.get(names[2]) == b"y" * 50


def test_adding_a_list_again_counts_it_once() -> None:
    lists = BlockLists(bytes_max=100)
    first, second = Digest(bytes(32)), Digest(b"1" * 32)
    for _ in range(10):
        lists.add(first, b"x" * 50)
    lists.add(second, b"x" * 50)
    assert lists.get(first) is not None


def test_one_list_larger_than_the_bound_is_kept_alone() -> None:
    lists = BlockLists(bytes_max=10)
    lists.add(Digest(bytes(32)), b"x" * 50)
    assert lists.get(Digest(bytes(32))) is not None
    lists.add(Digest(b"1" * 32), b"x" * 5)
    assert lists.get(Digest(bytes(32))) is None
