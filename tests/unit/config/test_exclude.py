from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from everynode.config.exclude import Excluder
from everynode.errors import ConfigError


def excluded(patterns: list[str], path: str | bytes, *, directory: bool = False) -> bool:
    return Excluder(patterns).excluded(path.encode() if isinstance(path, str) else path, directory)


def test_without_patterns_nothing_is_excluded() -> None:
    excluder = Excluder([])
    assert not excluder and not excluder.excluded(b"anything", False) and not excluder.excluded(b"a/b", True)


@pytest.mark.parametrize(
    ("pattern", "path", "directory", "verdict"),
    [
        ("*.tmp", "a.tmp", False, True),
        ("*.tmp", "x/y/a.tmp", False, True),
        ("*.tmp", "a.tmpx", False, False),
        ("/build", "build", False, True),
        ("/build", "x/build", False, False),
        ("build/", "build", False, False),
        ("build/", "build", True, True),
        ("build/", "x/build/y/z", False, True),
        ("a/*/c", "a/b/c", False, True),
        ("a/*/c", "a/b/b/c", False, False),
        ("a/**/c", "a/c", False, True),
        ("a/**/c", "a/b/b/c", False, True),
        ("a/**", "a", True, False),
        ("a/**", "a/b/c", False, True),
        ("**/log", "x/log", False, True),
        ("f?o", "fxo", False, True),
        ("f?o", "f/o", False, False),
        ("[!a]x", "bx", False, True),
        ("[!a]x", "ax", False, False),
        ("/a[!b]c", "a/c", False, False),
        ("/a[.-9]c", "a/c", False, False),
        ("[a-c]x", "bx", False, True),
        ("[[:digit:]]x", "7x", False, True),
        ("\\!important", "!important", False, True),
        ("\\#note", "#note", False, True),
        ("#note", "#note", False, False),
        ("end ", "end", False, True),
        ("end\\ ", "end ", False, True),
        ("a.b", "axb", False, False),
        ("x+(y)", "x+(y)", False, True),
    ],
)
def test_patterns_mean_what_gitignore_says(pattern: str, path: str, directory: bool, verdict: bool) -> None:
    assert excluded([pattern], path, directory=directory) is verdict


def test_the_last_matching_pattern_decides() -> None:
    assert not excluded(["*.log", "!keep.log"], "keep.log")
    assert excluded(["!keep.log", "*.log"], "keep.log")


def test_what_lies_below_an_excluded_directory_cannot_be_taken_back() -> None:
    assert excluded(["build/", "!build/keep"], "build/keep")
    assert not excluded(["build/*", "!build/keep"], "build/keep")


def test_paths_that_are_not_utf8_or_hold_line_breaks_are_matched_byte_by_byte() -> None:
    assert excluded(["*.tmp"], b"\xff\xfe.tmp")
    assert excluded(["caf\u00e9*"], "caf\u00e9.txt")
    assert not excluded(["caf\u00e9*"], "caf\u00e9.txt".encode("latin-1"))
    assert excluded(["a*b"], b"a\nb") and excluded(["**/x"], b"a\nb/x")
    assert excluded(["?"], b"\xff") and not excluded(["?"], "\u00e9")


def test_a_directory_s_verdict_is_the_same_when_asked_again_and_after_many_others() -> None:
    excluder = Excluder(["skip/", "!skip/in"])
    for number in range(10_000):
        assert not excluder.excluded(b"d%d/f" % number, False)
    for _ in range(2):
        assert excluder.excluded(b"skip/in/deep", False) and not excluder.excluded(b"keep/in", False)


def test_a_path_of_a_thousand_directories_is_no_trouble() -> None:
    assert excluded(["z"], b"/".join([b"a"] * 1000 + [b"z", b"b"]))


@pytest.mark.parametrize("pattern", ["!", "/", "!/", "//", "[a", "[", "a\\", "[[:nope:]]", "a\nb", "[a\\"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="no pattern for exclude"):
        Excluder([pattern])


def test_as_many_patterns_as_allowed_match_without_losing_any() -> None:
    patterns = [f"*{'?' * (number % 40)}a*{number}" for number in range(1000)]
    excluder = Excluder(patterns)
    assert all(excluder.excluded(b"x" * 50 + b"a-%d" % number, False) for number in range(0, 1000, 37))
    assert not excluder.excluded(b"nothing", False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what is right here")
def test_git_agrees_on_random_patterns_and_trees(tmp_path: Path) -> None:
    seeded = random.Random(7)
    names = [b"a", b"b", b"ab", b"a.b", b"\xff", "é".encode(), b"a b", b"[a]", b"a\nb", b"b\\"]
    pieces = [
        "a",
        "b",
        "*",
        "?",
        "/",
        "/**/",
        ".",
        "[ab]",
        "[!a]",
        "\\*",
        "é",
        " ",
        "\\ ",
        "[^b]",
        "#",
        "*.b",
        "\\[a\\]",
    ]
    for round_ in range(60):
        root = tmp_path / str(round_)
        subprocess.run(["git", "init", "-q", root], check=True)
        patterns = [
            seeded.choice(["", "", "!"])
            + "".join(seeded.choices(pieces, k=seeded.randint(1, 4)))
            + seeded.choice(["", "/"])
            for _ in range(seeded.randint(1, 3))
        ]
        try:
            excluder = Excluder(patterns)
        except ConfigError:
            continue
        (root / ".git/info").mkdir(exist_ok=True)
        (root / ".git/info/exclude").write_text("\n".join(patterns) + "\n")
        paths = _make_tree(os.fsencode(root), names, seeded)
        answer = subprocess.run(
            ["git", "-C", root, "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--no-index", "--stdin"],
            input=b"\0".join(paths) + b"\0",
            capture_output=True,
        )
        ours = {path for path, is_directory in paths.items() if excluder.excluded(path, is_directory)}
        assert ours == set(answer.stdout.split(b"\0")) - {b""}, patterns


def _make_tree(root: bytes, names: list[bytes], seeded: random.Random) -> dict[bytes, bool]:
    paths: dict[bytes, bool] = {}
    for _ in range(30):
        parts = seeded.choices(names, k=seeded.randint(1, 3))
        for depth in range(1, len(parts) + 1):
            path = b"/".join(parts[:depth])
            is_directory = paths.get(path, depth < len(parts))
            paths[path] = is_directory
            if not is_directory:
                break
    for path, is_directory in paths.items():
        (os.makedirs if is_directory else _touch)(os.path.join(root, path))
    return paths


def _touch(path: bytes) -> None:
    with open(path, "xb"):
        pass
