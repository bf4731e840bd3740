"""Texts to ids and back."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import Vocabulary
from elman.errors import UserError

TEXTS = ["I like programming!", "i don't like rain :)", "Programming in the rain", "caf\u00e9 caf\u00e9"] * 2
KINDS = ("character", "bpe", "word")


@pytest.fixture(scope="module", params=KINDS)
def vocabulary(request):
    return Vocabulary.train(TEXTS, request.param, size=120)


def test_reserved_numbers(vocabulary):
    ids = {number for text in vocabulary.encode(TEXTS) for number in text}
    assert min(ids) >= 4
    assert max(ids) < len(vocabulary) <= 120
    assert vocabulary.encode("\u4e2d") == [1]


def test_an_empty_text_is_a_sequence_of_length_zero(vocabulary):
    assert vocabulary.encode("") == []
    assert vocabulary.encode(["", TEXTS[0]]) == [[], vocabulary.encode(TEXTS[0])]
    assert vocabulary.encode([]) == []
    assert vocabulary.tokens("") == []
    assert vocabulary.decode([]) == ""


def test_the_written_name_of_a_reserved_entry_is_ordinary_text(vocabulary):
    assert not {0, 2, 3} & set(vocabulary.encode("<padding> <unknown> <start> <end>"))


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(), max_size=30))
def test_any_text_is_encoded_with_its_pieces_aligned(vocabulary, text):
    ids = vocabulary.encode(text)
    assert all(0 < number < len(vocabulary) for number in ids)
    assert len(ids) == len(vocabulary.tokens(text)) == len(vocabulary.offsets(text))
    assert all(0 <= start <= end <= len(text) for start, end in vocabulary.offsets(text))
    assert vocabulary.encode([text, "x"])[0] == ids


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_cut_out_of_the_text_as_written(kind):
    vocabulary = Vocabulary.train(TEXTS, kind, size=200)
    assert "".join(vocabulary.tokens("Don't LIKE")).replace(" ", "") == "Don'tLIKE"
    if kind != "character":
        assert vocabulary.tokens("I DON'T like RAIN :)") == ["I", "DON'T", "like", "RAIN", ":)"]


def test_unknown_word_falls_into_known_pieces():
    vocabulary = Vocabulary.train(TEXTS, "bpe", size=200)
    assert 1 not in vocabulary.encode("mario")
    assert vocabulary.tokens("likerain")[0] == "like"
    assert vocabulary.encode("lik\u4e2d").count(1) == 1


def test_case_is_kept_when_asked():
    kept, folded = (Vocabulary.train(["Yes", "no"], "word", lowercase=lower) for lower in (False, True))
    assert (kept.encode("Yes"), kept.encode("yes")) == ([4], [1])
    assert folded.encode("Yes") == folded.encode("yes") != [1]


def test_composed_and_decomposed_letters_are_the_same(vocabulary):
    assert vocabulary.encode("cafe\u0301") == vocabulary.encode("caf\u00e9")
    assert 1 not in vocabulary.encode("caf\u00e9")


def test_max_length_keeps_the_beginning(vocabulary):
    ids = vocabulary.encode(TEXTS[1])
    assert vocabulary.encode(TEXTS[1], max_length=3) == ids[:3]
    assert vocabulary.encode([TEXTS[1], "i"], max_length=3) == [ids[:3], vocabulary.encode("i")]


def test_decode(vocabulary):
    ids = vocabulary.encode("i like programming!")
    assert vocabulary.decode([2, *ids, 3, 0, 0]) == "i like programming!"


def test_the_most_frequent_words_are_kept():
    vocabulary = Vocabulary.train(["a a a b b c", "d"], "word", size=6)
    assert len(vocabulary) == 6
    assert vocabulary.encode("a b c d") == [4, 5, 1, 1]


@pytest.mark.parametrize("size", [6, 7, 20, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_never_larger_than_asked(kind, size):
    vocabulary = Vocabulary.train(["the quick brown fox jumps over the lazy dog"], kind, size=size)
    assert 5 <= len(vocabulary) <= size
    assert max(vocabulary.encode("quick fox")) < len(vocabulary)


def test_json_round_trip(vocabulary):
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.to_json() == vocabulary.to_json()
    assert again.encode("Rain <padding> zzz") == vocabulary.encode("Rain <padding> zzz")


TRAIN = """
import random
from elman.data import Vocabulary
letters = random.Random(1)
texts = [" ".join("".join(letters.choices("abcdefghijklmnop", k=6)) for _ in range(6)) for _ in range(60)]
print([Vocabulary.train(texts, kind, size=300).to_json() for kind in ("character", "bpe", "word")])
"""


def test_the_same_texts_give_the_same_bytes_in_every_process():
    # Many pairs are equally frequent here; the library breaks such ties by numbers that may be drawn at random.
    command = [sys.executable, "-c", TRAIN]
    made = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(3)}
    assert len(made) == 1


def change(text, **settings):
    return json.dumps({**json.loads(text), **settings})


def test_damaged_json_is_refused():
    good = Vocabulary.train(TEXTS, "word").to_json()
    entries = json.loads(good)["model"]["vocab"]
    shifted = {"type": "WordLevel", "vocab": {k: v + 1 for k, v in entries.items()}, "unk_token": "<unknown>"}
    renamed = {**entries, "<pad>": 0}
    del renamed["<padding>"]
    foreign = {"type": "WordLevel", "vocab": renamed, "unk_token": "<unknown>"}
    gap = {"type": "WordLevel", "vocab": {**entries, "far": len(entries) + 5}, "unk_token": "<unknown>"}
    bad = [
        "",
        good[:-20],
        "[" * 10_000,
        '{"a": "\ud800"}',
        change(good, model=shifted),
        change(good, model=foreign),
        change(good, model=gap),
    ]
    for text in bad:
        with pytest.raises(UserError, match=r"a vocabulary must .*restore the file, or train again"):
            Vocabulary.from_json(text)


@pytest.mark.parametrize(
    ("texts", "kind", "size", "said"),
    [
        (["a"], "bytes", 100, "no such kind of vocabulary; found: bytes; choose one of: character, bpe, word"),
        (["a"], "word", 5, "a vocabulary needs at least 6 entries; found: 5"),
        ([], "bpe", 100, "a vocabulary is learnt from texts"),
        (["", " \n"], "word", 100, "a vocabulary is learnt from texts"),
    ],
)
def test_refused(texts, kind, size, said):
    with pytest.raises(UserError) as caught:
        Vocabulary.train(texts, kind, size)
    assert said in str(caught.value)


def test_a_word_without_end_is_cut():
    vocabulary = Vocabulary.train(["x" * 1_000_000, "a b"], "bpe")
    assert max(map(len, vocabulary.tokens("x" * 1000))) == 40


def test_whole_words_are_one_piece_each_and_never_reserved():
    words = ["New York", "U.S.", "<padding>", "caf\u00e9", "..."]
    vocabulary = Vocabulary.train(words * 2, "whole")
    known = vocabulary.encode(["new york", "u.s.", "<padding>", "cafe\u0301", "..."])
    assert sorted(number for one in known for number in one) == [4, 5, 6, 7, 8]
    assert vocabulary.encode(["York", "<unknown>", "<start>", ""]) == [[1], [1], [1], []]
    assert (
        vocabulary.decode([number for one in known for number in one]) == "new york u.s. <padding> caf\u00e9 ..."
    )
    assert vocabulary.tokens("New York") == ["New York"]
    assert Vocabulary.from_json(vocabulary.to_json()).encode(words) == vocabulary.encode(words)
