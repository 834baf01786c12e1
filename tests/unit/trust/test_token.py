from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everynode.errors import TrustError
from everynode.trust.token import PREFIX, Token, parse_token, show_token

TOKEN = Token(b"s" * 20, ("10.0.0.1:7420", "[fe80::1]:7420", "alpha.example:1"), b"i" * 32, b"c" * 32, 1_900_000_000)
TEXT = show_token(TOKEN)


def test_a_token_survives_writing_and_reading() -> None:
    assert TEXT.startswith("everynode1-") and parse_token(TEXT) == TOKEN


def test_case_and_white_space_do_not_matter() -> None:
    wrapped = "\n  ".join(TEXT[start : start + 60] for start in range(0, len(TEXT), 60))
    assert parse_token(f"  {wrapped.upper()}\n") == TOKEN


@given(st.integers(len(PREFIX), len(TEXT) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_every_mistyped_character_is_noticed(position: int, character: str) -> None:
    mistyped = TEXT[:position] + character + TEXT[position + 1 :]
    if mistyped == TEXT:
        return
    try:
        # The last character has spare bits: it may be another way to write the same token.
        assert parse_token(mistyped) == TOKEN and position == len(TEXT) - 1
    except TrustError as error:
        assert "mistyped" in str(error) or "truncated" in str(error)


@given(st.integers(1, len(TEXT) - 1))
def test_every_truncated_token_is_called_truncated(length: int) -> None:
    with pytest.raises(TrustError, match="truncated"):
        parse_token(TEXT[:length])


@pytest.mark.parametrize("text", ["", "hello", "everynode2-abc", "x" * 1_000_000])
def test_what_is_no_token_is_called_so(text: str) -> None:
    with pytest.raises(TrustError, match="this is no invite token"):
        parse_token(text)


@pytest.mark.parametrize("character", ["1", "0", "-", "é", "\x00"])
def test_a_character_that_no_token_has_is_named(character: str) -> None:
    with pytest.raises(TrustError, match=r"mistyped.*cannot occur"):
        parse_token(TEXT[:20] + character + TEXT[21:])


def test_two_letters_changed_round_are_noticed() -> None:
    position = next(n for n in range(20, 100) if TEXT[n] != TEXT[n + 1])
    swapped = TEXT[:position] + TEXT[position + 1] + TEXT[position] + TEXT[position + 2 :]
    with pytest.raises(TrustError, match="mistyped"):
        parse_token(swapped)


@given(st.text(max_size=300))
def test_hostile_text_after_the_prefix_gives_a_trust_error(text: str) -> None:
    with pytest.raises(TrustError):
        parse_token(PREFIX + text)


def test_a_token_says_nothing_of_its_secret_when_shown_as_an_object_id() -> None:
    from everynode.trust.token import invite_id_of, proof_key_of

    assert TOKEN.secret not in invite_id_of(TOKEN.secret) + proof_key_of(TOKEN.secret)
    assert proof_key_of(TOKEN.secret)[:16] != invite_id_of(TOKEN.secret)
