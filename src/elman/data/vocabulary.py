"""Texts to token ids and back, over the `tokenizers` library."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, overload

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from elman.errors import UserError

VocabularyKind = Literal["character", "bpe", "word", "whole"]

PADDING, UNKNOWN, START, END = range(4)
_RESERVED = ("<padding>", "<unknown>", "<start>", "<end>")
# A word keeps its apostrophe (don't); marks that stand together stay together (!!!, :)). Nothing is longer
# than 40 characters: training on a "word" of megabytes would take quadratic time.
_WORDS = r"\w{1,40}(?:['\u2019]\w{1,40})?|[^\w\s]{1,8}"
# Marks a piece that continues a word; users never see it, `tokens` cuts the text itself.
_CONTINUES = "\u2040"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Vocabulary:
    """Pieces of text and their numbers: 0 padding, 1 unknown, 2 start, 3 end, then the pieces.

    `character`: every character, white space included. `word`: words and runs of marks. `bpe`: pieces of
    words by byte-pair merges (Sennrich et al. 2016), never across the border of a word. `whole`: a text is one
    piece, for words that are cut already. All texts are brought to Unicode's NFC first. What was never seen, or
    fell outside `size`, is number 1.

    Example:
        >>> vocabulary = Vocabulary.train(["I like it", "I like tea"], "word")
        >>> vocabulary.tokens("I like coffee"), vocabulary.encode("I like coffee")
        (['I', 'like', 'coffee'], [4, 5, 1])
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def train(
        cls, texts: Iterable[str], kind: VocabularyKind, size: int = 8000, lowercase: bool = True, least: int = 1
    ) -> Vocabulary:
        """Learn a vocabulary; the same texts always give the same one, to the byte.

        Args:
            texts: the training texts, and no others.
            kind: "character", "bpe", "word" or "whole".
            size: the largest number of entries, the four reserved ones included.
            lowercase: whether upper and lower case are the same.
            least: characters seen fewer times are unknown; 2 lets a model learn how likely something new is.

        Raises:
            UserError: the kind is unknown, the size leaves no room, or no text holds anything.
        """
        if kind not in _KINDS:
            raise UserError("no such kind of vocabulary", found=kind, fix=f"choose one of: {', '.join(_KINDS)}")
        if size < len(_RESERVED) + 2:
            raise UserError(f"a vocabulary needs at least {len(_RESERVED) + 2} entries", found=size)
        normalizer = normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])])
        kept = [_without_surrogates(text) for text in texts]
        counts: Counter[str] = Counter()
        for text in kept:
            counts.update(normalizer.normalize_str(text))
        often = [character for character, count in counts.items() if count >= least]
        alphabet = sorted(often, key=lambda character: (-counts[character], character))
        if not any(character.strip() for character in alphabet):
            raise UserError("a vocabulary is learnt from texts", found="texts without a character")
        tokenizer = _KINDS[kind](kept, normalizer, alphabet, size - len(_RESERVED))
        return cls(_plain(tokenizer))

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that `to_json` wrote.

        Raises:
            UserError: the text is damaged, or not a vocabulary of this kind.
        """
        fix = "restore the file, or train again"
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises no narrower class
            raise UserError("a vocabulary must be a tokenizer in JSON", found=error, fix=fix) from error
        ids = sorted(tokenizer.get_vocab().values())
        reserved = tuple(tokenizer.id_to_token(number) for number in range(len(_RESERVED)))
        if ids != list(range(len(ids))) or reserved != _RESERVED or tokenizer.get_added_tokens_decoder():
            found = f"{len(ids)} entries that begin {', '.join(map(str, reserved))}"
            raise UserError(f"a vocabulary must begin {', '.join(_RESERVED)}", found=found, fix=fix)
        return cls(tokenizer)

    def to_json(self) -> str:
        """The vocabulary in the JSON of the `tokenizers` library."""
        return self._tokenizer.to_str()

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    @overload
    def encode(self, text: str, max_length: int | None = None) -> list[int]: ...
    @overload
    def encode(self, text: list[str], max_length: int | None = None) -> list[list[int]]: ...
    def encode(self, text: str | list[str], max_length: int | None = None) -> list[int] | list[list[int]]:
        """The ids of a text, or of each of several; of each, at most the first `max_length`.

        A text without pieces gives an empty list: a sequence of length 0, which the layers allow.
        """
        texts = [text] if isinstance(text, str) else text
        encoded = self._tokenizer.encode_batch_fast([_without_surrogates(one) for one in texts])
        ids = [encoding.ids[:max_length] for encoding in encoded]
        return ids[0] if isinstance(text, str) else ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, as far as it was kept; padding, start and end are left out."""
        return self._tokenizer.decode([number for number in ids if number not in (PADDING, START, END)])

    def tokens(self, text: str) -> list[str]:
        """The pieces of a text as it is written there, one for each id of `encode(text)`."""
        return [text[start:end] for start, end in self.offsets(text)]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each piece starts and ends in the text, in characters, one for each id of `encode(text)`."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(_without_surrogates(text)).offsets
        return offsets


def _characters(
    _texts: list[str], normalizer: normalizers.Normalizer, alphabet: list[str], size: int
) -> Tokenizer:
    # Byte-pair encoding without any merge: each character by itself.
    entries = {token: number for number, token in enumerate([*_RESERVED, *alphabet[:size]])}
    tokenizer = Tokenizer(models.BPE(vocab=entries, merges=[], unk_token=_RESERVED[UNKNOWN]))
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _pieces(texts: list[str], normalizer: normalizers.Normalizer, alphabet: list[str], size: int) -> Tokenizer:
    model = models.BPE(unk_token=_RESERVED[UNKNOWN], continuing_subword_prefix=_CONTINUES)
    letters = [character for character in alphabet if not character.isspace()][: size // 2]
    # The trainer numbers characters inside a word at random, and so would break ties between equally rare ones
    # and between merges. What it is given as special is numbered as given.
    inner = [_CONTINUES + letter for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(_RESERVED),
        special_tokens=[*_RESERVED, *letters, *inner],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        continuing_subword_prefix=_CONTINUES,
        show_progress=False,
    )
    tokenizer = _by_words(model, normalizer)
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES, cleanup=True)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _words(texts: list[str], normalizer: normalizers.Normalizer, _alphabet: list[str], size: int) -> Tokenizer:
    trainer = trainers.WordLevelTrainer(
        vocab_size=size + len(_RESERVED), special_tokens=list(_RESERVED), show_progress=False
    )
    tokenizer = _by_words(models.WordLevel(unk_token=_RESERVED[UNKNOWN]), normalizer)
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES, cleanup=True)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _whole(texts: list[str], normalizer: normalizers.Normalizer, _alphabet: list[str], size: int) -> Tokenizer:
    # The space before it keeps a word that is written <padding> apart from the reserved entry.
    tokenizer = Tokenizer(models.WordLevel(unk_token=_RESERVED[UNKNOWN]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(" "), normalizer])
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.WordLevelTrainer(
        vocab_size=size + len(_RESERVED), special_tokens=list(_RESERVED), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


_KINDS = {"character": _characters, "bpe": _pieces, "word": _words, "whole": _whole}


def _by_words(model: models.Model, normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    return tokenizer


def _plain(tokenizer: Tokenizer) -> Tokenizer:
    """The same without marked special tokens: "<padding>" written in a text must not become number 0."""
    settings = json.loads(tokenizer.to_str())
    settings["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(settings))


def _without_surrogates(text: str) -> str:
    # Halves of surrogate pairs cannot be encoded; one character for one keeps the offsets right.
    return _LONE_SURROGATE.sub("\ufffd", text)
