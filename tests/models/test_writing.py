"""Writing: greedy, drawn, by beams; and that it says what the models were trained to say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from elman.models import (
    EncoderDecoder,
    LanguageModel,
    Memory,
    OneToMany,
    Sampling,
    beam_search,
    generate,
)
from elman.nn import Recurrent, Stream
from tolerances import assert_equal

VOCABULARY, END, START = 11, 3, 2


def decided(model: nn.Module) -> nn.Module:
    """Scores far apart, and ends that come."""
    with torch.no_grad():
        nn.init.normal_(model.head.weight, std=2.0)
        model.head.bias[END] = 4.0
    return model


def language_model(cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(Recurrent(cell, 5, 7, 2), VOCABULARY).eval()
    return decided(model)


def one_to_many(context: str = "start", feedback: bool = True) -> OneToMany:
    torch.manual_seed(0)
    width = (5 if feedback else 0) + (4 if context == "every step" else 0) or 1
    model = OneToMany(
        Recurrent("gru", width, 7),
        VOCABULARY,
        context_size=4,
        context=context,
        feedback=feedback,
        embedding_size=5,
    ).eval()
    return decided(model)


def encoder_decoder(attention: str | None = "additive", copying: bool = True) -> EncoderDecoder:
    torch.manual_seed(0)
    reader, writer = Recurrent("lstm", 5, 6, bidirectional=True), Recurrent("lstm", 5, 7, 2)
    model = EncoderDecoder(reader, writer, VOCABULARY, attention=attention, copying=copying).eval()
    return decided(model)


SOURCE, SOURCE_LENGTHS = (
    torch.tensor([[4, 5, 6, 12, 8], [7, 11, 0, 0, 0], [9, 9, 4, 0, 0]]),
    torch.tensor([5, 2, 3]),
)


def begun(name: str):
    """A model, its memory before the first of three rows, and a function that scores given tokens offline."""
    if name == "language model":
        model = language_model()
        prompt = torch.tensor([[START, 4, 5], [START, 6, 7], [START, 8, 8]])
        memory, first = model.begin(prompt)

        def offline(tokens: Tensor) -> Tensor:
            scores, _ = model(torch.cat([prompt, tokens[:, :-1]], 1))
            return scores[:, 2:].log_softmax(-1)

        return model, memory, first, offline
    first = torch.full((3,), START)
    if name.startswith("one to many"):
        _, context, feedback = name.split(", ")
        model = one_to_many(context, feedback == "feedback")
        given = torch.randn(3, 4)
        return model, model.begin(given), first, lambda t: model(given, _before(t)).log_softmax(-1)
    model = encoder_decoder(
        *{"plain": (None, False), "multiplicative": ("multiplicative", False)}.get(name, ("additive", True))
    )
    extra = 2
    memory = model.begin(SOURCE, SOURCE_LENGTHS, extra)
    return model, memory, first, lambda t: model(SOURCE, SOURCE_LENGTHS, _before(t), extra=extra)


def _before(tokens: Tensor) -> Tensor:
    return torch.cat([torch.full((len(tokens), 1), START), tokens[:, :-1]], 1)


NAMES = [
    "language model", "one to many, start, feedback", "one to many, every step, feedback",
    "one to many, start, nothing", "one to many, every step, nothing", "plain", "multiplicative", "copying",
]  # fmt: skip
every_model = pytest.mark.parametrize("name", NAMES)


@every_model
def test_step_by_step_says_what_one_call_says(name):
    model, memory, first, offline = begun(name)
    tokens = torch.randint(4, VOCABULARY, (3, 6))
    with torch.no_grad():
        steps = [model.advance(t, memory) for t in [first, *tokens.unbind(1)[:-1]]]
        assert_equal(torch.stack(steps, 1), offline(tokens))
    assert_equal(steps[2].exp().sum(1), torch.ones(3))


@every_model
def test_one_beam_is_the_greedy_choice(name):
    greedy = written(name, temperature=0)
    model, memory, first, _ = begun(name)
    found = beam_search(model, memory, first, end=END, beams=1, steps=12)
    for row, hypotheses in enumerate(found):
        assert hypotheses[0].tokens == until_end(greedy[row])


@every_model
@pytest.mark.parametrize("beams", [1, 3])
def test_beam_scores_are_those_of_teacher_forcing(name, beams):
    model, memory, first, offline = begun(name)
    found = beam_search(model, memory, first, end=END, beams=beams, steps=6, alpha=0.7)
    ended = 0
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == beams
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        for h in hypotheses:
            full = [*h.tokens, END] if len(h.tokens) < 6 else h.tokens
            ended += full[-1] == END
            tokens = torch.full((3, len(full)), 4)
            tokens[row] = torch.tensor(full)
            with torch.no_grad():
                log_p = offline(tokens)[row].gather(1, tokens[row][:, None]).sum()
            assert h.log_probability == pytest.approx(float(log_p), abs=1e-4)
            assert h.score == pytest.approx(h.log_probability / ((5 + len(full)) / 6) ** 0.7)
    assert ended or beams == 1


def test_a_search_wide_enough_finds_the_best_of_all_sequences():
    model, memory, first, offline = begun("language model")
    found = beam_search(model, memory, first, end=END, beams=VOCABULARY**2, steps=2, alpha=0.0)
    pairs = torch.cartesian_prod(torch.arange(VOCABULARY), torch.arange(VOCABULARY))
    with torch.no_grad():
        log_p = torch.stack([offline(pair.expand(3, 2)) for pair in pairs])  # (pairs, 3, 2, V)
    for row in range(3):
        best = -math.inf
        for pair, scores in zip(pairs.tolist(), log_p[:, row], strict=True):
            first_log_p = float(scores[0, pair[0]])
            best = max(best, first_log_p if pair[0] == END else first_log_p + float(scores[1, pair[1]]))
        assert max(h.log_probability for h in found[row]) == pytest.approx(best, abs=1e-5)


def written(name: str, rows: slice = slice(None), **how) -> list[list[int]]:
    model, memory, first, _ = begun(name)
    steps = list(generate(model, memory, first, Sampling(**{"steps": 12, "end": END, **how})))
    return torch.stack(steps, 1)[rows].tolist()


def until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(END)] if END in tokens else tokens


@every_model
def test_greedy_writing_takes_the_likeliest_token_of_one_offline_call(name):
    _, _, _, offline = begun(name)
    tokens = torch.tensor(written(name, temperature=0, end=None))
    with torch.no_grad():
        assert torch.equal(offline(tokens).argmax(-1), tokens)


def test_a_finished_row_repeats_the_end_and_all_finished_stop_the_loop():
    class Counts:
        def advance(self, previous, memory):
            scores = torch.full((len(previous), VOCABULARY), -50.0)
            following = torch.where(previous <= END, END, previous - 1)
            return scores.scatter(1, following[:, None], 0.0).log_softmax(1)

    steps = list(generate(Counts(), None, torch.tensor([5, 7, 4]), Sampling(steps=20, end=END)))
    assert torch.stack(steps, 1).tolist() == [[4, 3, 3, 3], [6, 5, 4, 3], [3, 3, 3, 3]]


def test_a_seed_repeats_and_another_differs():
    first = written("language model", seed=5, end=None, steps=40)
    assert first == written("language model", seed=5, end=None, steps=40)
    assert first != written("language model", seed=6, end=None, steps=40)


class Fixed:
    """Says the same at every step: log of the given numbers."""

    def __init__(self, *p: float) -> None:
        self.log_p = torch.tensor(p).log()

    def advance(self, previous: Tensor, memory: Memory | None) -> Tensor:
        return self.log_p.expand(len(previous), -1)


def frequencies(model: Fixed, **how) -> list[float]:
    rows = 20_000
    (drawn,) = generate(model, None, torch.zeros(rows, dtype=torch.int64), Sampling(steps=1, seed=0, **how))
    return (torch.bincount(drawn, minlength=len(model.log_p)) / rows).tolist()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, (0.5, 0.3, 0.15, 0.05)),
        ({"temperature": 0.5}, (0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365)),
        ({"top_k": 2}, (0.625, 0.375, 0, 0)),
        ({"top_p": 0.8}, (0.625, 0.375, 0, 0)),
        ({"top_p": 0.81}, (0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0)),
        ({"top_p": 0.001}, (1, 0, 0, 0)),
        ({"never": (0,)}, (0, 0.6, 0.3, 0.1)),
        ({"temperature": 0}, (1, 0, 0, 0)),
        ({"temperature": 1e-300}, (1, 0, 0, 0)),
        ({"temperature": 1e300, "never": (0,)}, (0, 1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_tokens_are_drawn_with_the_probabilities_that_the_settings_leave(how, expected):
    assert frequencies(Fixed(0.5, 0.3, 0.15, 0.05), **how) == pytest.approx(expected, abs=0.012)


def test_repetition_is_made_less_likely():
    model, start = Fixed(0.6, 0.4), torch.zeros(1, dtype=torch.int64)
    plain = [int(t) for t in generate(model, None, start, Sampling(steps=4, temperature=0))]
    less = [int(t) for t in generate(model, None, start, Sampling(steps=4, temperature=0, repetition_penalty=2.0))]
    assert plain == [0, 0, 0, 0]
    assert less == [0, 1, 0, 0]  # 0.6^2 < 0.4, then both were written
    never = Sampling(steps=9, temperature=1e-300, repetition_penalty=1e300, seed=0)
    assert [int(t) for t in generate(Fixed(1.0, 0.0), None, start, never)] == [0] * 9


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_p": 0.0},
        {"repetition_penalty": 0.5},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_a_prompt_may_be_of_different_lengths_and_not_empty():
    model = language_model()
    prompt, lengths = torch.tensor([[4, 5, 6], [7, 0, 0]]), torch.tensor([3, 1])
    memory, first = model.begin(prompt, lengths)
    together = model.advance(first, memory)
    for row in range(2):
        memory, first = model.begin(prompt[row : row + 1, : lengths[row]])
        assert_equal(model.advance(first, memory)[0], together[row])
    with pytest.raises(ValueError, match="at least one token"):
        model.begin(torch.zeros(1, 0, dtype=torch.int64))


def test_copying_writes_words_the_vocabulary_does_not_hold():
    model = encoder_decoder()
    nn.init.constant_(model.gate.bias, 50.0)  # copies always
    log_p = model(SOURCE, SOURCE_LENGTHS, torch.full((3, 1), START), extra=2)[:, 0]
    for row in range(3):
        words = set(SOURCE[row, : SOURCE_LENGTHS[row]].tolist())
        assert set((log_p[row] > -20).nonzero()[:, 0].tolist()) == words  # 11 and 12 lie beyond the vocabulary


def test_a_padded_source_step_changes_nothing():
    model, previous = encoder_decoder(), torch.full((1, 4), START)
    alone = model(SOURCE[1:2, :2], SOURCE_LENGTHS[1:2], previous, extra=2)
    assert_equal(model(SOURCE[1:2], SOURCE_LENGTHS[1:2], previous, extra=2), alone)


def test_nothing_impossible_is_drawn_however_the_sums_round():
    p = torch.cat([torch.full((500,), 1e-9), torch.ones(1), torch.zeros(500)])
    (drawn,) = generate(Fixed(*p.tolist()), None, torch.zeros(2_000, dtype=torch.int64), Sampling(steps=1, seed=0))
    assert int(drawn.max()) <= 500


class _Word:
    """Writes "1 1 1 1 1" and its end with probability 0.9 a step; what ends it before is less likely."""

    def advance(self, previous: torch.Tensor, memory: Memory) -> torch.Tensor:
        memory.fixed["length"] = memory.fixed["length"] + 1
        p = torch.tensor([0.05, 0.9] + [0.005] * 10).repeat(len(previous), 1)
        p[memory.fixed["length"] > 5] = torch.tensor([0.9, 0.05] + [0.005] * 10)
        return p.log()


def test_a_likely_long_sequence_is_found_however_many_short_ones_end_before_it():
    memory = Memory(Stream(Recurrent("rnn", 1, 1)), length=torch.zeros(1))
    (found,) = beam_search(_Word(), memory, torch.zeros(1, dtype=torch.int64), end=0, beams=4, steps=10, alpha=0.0)
    assert found[0].tokens == [1] * 5
    assert len(found) == 4
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
