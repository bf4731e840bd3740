"""Writing sequences with a model that was trained to say what comes next: drawn, or searched by beams.

The one loop over time in Python: each input is the output before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elman.nn import Stream

_LARGEST = 1e30  # times log p, a number in single precision
_COLD = 1e-20  # log p divided by this is one still


class Memory:
    """What is remembered of B sequences while they are written.

    Attributes:
        stream: the recurrent layers with their states.
        fixed: what does not change from step to step, by name, rows first.
    """

    def __init__(self, stream: Stream, **fixed: Tensor) -> None:
        self.stream, self.fixed = stream, fixed

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows in this order; a row may come several times, or not at all."""
        self.stream.select(rows)
        self.fixed = {name: tensor.index_select(0, rows) for name, tensor in self.fixed.items()}


class Writer(Protocol):
    """A model that can write."""

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        """Log p of each token after `previous` (B,), as (B, V); the memory moves on by one step."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from p.

    p^(1 / temperature) over the tokens that `top_k` and `top_p` leave, rescaled.

    Attributes:
        steps: tokens written at most.
        temperature: below 1 the likely tokens become likelier; 0 takes the likeliest.
        top_k: leave the k likeliest tokens; None: all.
        top_p: leave the fewest likeliest tokens that together have probability p or more; None: all. Source: A.
            Holtzman et al., arXiv:1904.09751v2.
        repetition_penalty: log p of a token that was written before is multiplied by this, at least 1. Source:
            N. S. Keskar et al., arXiv:1909.05858v2, with log p in place of scores.
        end: the token after which a row is finished; None: all steps are written.
        never: tokens that are never written.
        seed: of the draws; None: torch's own generator.

    Raises:
        ValueError: a value that cannot be.
    """

    steps: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    end: int | None = None
    never: tuple[int, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, right, wanted in (
            ("steps", self.steps >= 0, "0 or more"),
            ("temperature", 0 <= self.temperature < float("inf"), "a number from 0 on"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more, or None"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "above 0 and at most 1, or None"),
            ("repetition_penalty", 1 <= self.repetition_penalty < float("inf"), "1 or more"),
        ):
            if not right:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")


@torch.inference_mode()
def generate(model: Writer, memory: Memory, first: Tensor, sampling: Sampling = Sampling()) -> Iterator[Tensor]:
    """Writes a sequence for each row, token by token.

    Args:
        model: what writes.
        memory: from the model's `begin`.
        first: the tokens before the first that is written, (B,).
        sampling: how tokens are drawn.

    Yields:
        The tokens of each step as they are made, (B,); a row that is finished repeats `end`.

    Example:
        >>> from elman import Recurrent, models
        >>> model = models.LanguageModel(Recurrent("gru", 4, 8), 10).eval()
        >>> memory, first = model.begin(torch.tensor([[1, 2], [3, 4]]))
        >>> [step.shape for step in generate(model, memory, first, Sampling(steps=3, temperature=0))]
        [torch.Size([2]), torch.Size([2]), torch.Size([2])]
    """
    generator = None if sampling.seed is None else torch.Generator(first.device).manual_seed(sampling.seed)
    finished, over = torch.zeros(first.shape, dtype=torch.bool, device=first.device), False
    refused: Tensor | None = None
    written: Tensor | None = None
    previous = first
    for _ in range(sampling.steps):
        scores = model.advance(previous, memory)
        if sampling.repetition_penalty != 1:
            written = torch.zeros_like(scores, dtype=torch.bool) if written is None else written
            scores = torch.where(written, scores * min(sampling.repetition_penalty, _LARGEST), scores)
        if sampling.never:
            refused = _refused(scores, sampling.never) if refused is None else refused
            scores = scores + refused
        previous = _drawn(scores, sampling, generator)
        if sampling.end is not None:
            ended = previous == sampling.end
            if over or bool(ended.any()):  # seldom: this loop runs thousands of times a second
                previous = previous.masked_fill(finished, sampling.end)
                finished, over = finished | ended, True
        if written is not None:
            written.scatter_(1, previous[:, None], True)
        yield previous
        if over and bool(finished.all()):
            return


def _refused(scores: Tensor, never: tuple[int, ...]) -> Tensor:
    """What is added to log p so that some tokens are never written, (1, V)."""
    fill = torch.zeros_like(scores[:1])
    return fill.index_fill(1, torch.tensor(never, device=scores.device), -torch.inf)


def _drawn(scores: Tensor, sampling: Sampling, generator: torch.Generator | None) -> Tensor:
    """A token for each row of log p, (B, V) -> (B,)."""
    if sampling.temperature == 0:
        return scores.argmax(1)
    if sampling.temperature != 1:
        temperature = min(max(sampling.temperature, 1 / _LARGEST), _LARGEST)
        if temperature < _COLD:
            scores = scores - scores.amax(1, keepdim=True)  # the likeliest stays 0
        scores = scores / temperature
    if sampling.top_k is not None and sampling.top_k < scores.shape[1]:
        least = scores.topk(sampling.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    p = scores.softmax(1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = p.sort(1, descending=True)
        beyond = ordered.cumsum(1) - ordered >= sampling.top_p  # those before it suffice
        p = p.masked_fill(torch.zeros_like(beyond).scatter_(1, order, beyond), 0.0)
    # The token at which the sum of p passes a number drawn evenly; `multinomial` takes several times as long.
    sums = p.cumsum(1)
    drawn = torch.rand((len(p), 1), generator=generator, dtype=p.dtype, device=p.device) * sums[:, -1:]
    return torch.searchsorted(sums, drawn, right=True)[:, 0]


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that beams have found.

    Attributes:
        tokens: what was written, without the end.
        log_probability: the sum of log p over its tokens and the end, where it has one.
        score: log_probability / ((5 + length) / 6)^alpha, the end counted.
    """

    tokens: list[int]
    log_probability: float
    score: float


@torch.inference_mode()
def beam_search(
    model: Writer,
    memory: Memory,
    first: Tensor,
    *,
    end: int,
    beams: int = 4,
    steps: int = 100,
    alpha: float = 0.6,
    never: tuple[int, ...] = (),
) -> list[list[Hypothesis]]:
    """The likeliest sequences that a search over a few at a time finds.

    The best `beams` that end are kept, each of which was among the best `beams` of its step. A row is done when it
    has as many and none under way could still be better than the worst of them; one beam is the greedy choice.

    Args:
        model: what writes.
        memory: from the model's `begin`, of B rows.
        first: the tokens before the first that is written, (B,).
        end: the token that ends a sequence.
        beams: sequences that are kept at each step.
        steps: tokens written at most; sequences that have not ended by then count as they are, if too few have.
        alpha: how much length is made up for; 0 compares log p.
        never: tokens that are never written.

    Returns:
        For each row its hypotheses, best score first.

    Raises:
        ValueError: fewer than one beam or step.

    Source:
        Length normalisation: Y. Wu et al., arXiv:1609.08144v2, equation 14.
    """
    if beams < 1 or steps < 1:
        raise ValueError(f"a search needs a beam and a step, got beams={beams}, steps={steps}")
    rows, device = first.shape[0], first.device
    memory.select(torch.arange(rows, device=device).repeat_interleave(beams))
    previous = first.repeat_interleave(beams)
    sums = torch.full((rows, beams), -torch.inf, device=device)
    sums[:, 0] = 0  # the beams of a row are still one
    texts = torch.empty((rows, beams, 0), dtype=torch.int64, device=device)
    refused: Tensor | None = None
    done: list[list[Hypothesis]] = [[] for _ in range(rows)]
    for step in range(steps):
        scores = model.advance(previous, memory)
        if never:
            refused = _refused(scores, never) if refused is None else refused
            scores = scores + refused
        tokens_of_all = scores.shape[1]
        every = (sums[..., None] + scores.view(rows, beams, -1)).flatten(1)
        best, which = every.topk(min(2 * beams, every.shape[1]))  # half of them may end here
        beam, token = which // tokens_of_all, which % tokens_of_all
        candidates = torch.cat([texts.gather(1, beam[..., None].expand(-1, -1, step)), token[..., None]], -1)
        ended = token == end
        _collect(done, candidates, best, ended, beams, alpha)
        alive = best.masked_fill(ended, -torch.inf)
        sums, kept = alive.topk(beams)
        # The most that a sequence under way can come to: it ends here with certainty, and as long as can be.
        most = (sums[:, 0] / ((5 + steps) / 6) ** alpha).tolist()
        if all(_is_over(found, beams, bound) for found, bound in zip(done, most, strict=True)):
            break
        texts = candidates.gather(1, kept[..., None].expand(-1, -1, step + 1))
        origin = beam.gather(1, kept) + torch.arange(rows, device=device)[:, None] * beams
        memory.select(origin.flatten())
        previous = token.gather(1, kept).flatten()
    for found, left, text in zip(done, sums.tolist(), texts.tolist(), strict=True):
        pairs = [(total, tokens) for total, tokens in zip(left, text, strict=True) if total > -torch.inf]
        found += [_hypothesis(tokens, total, alpha) for total, tokens in pairs[: beams - len(found)]]
        found.sort(key=lambda hypothesis: -hypothesis.score)
    return done


@torch.inference_mode()
def samples(
    model: Writer, memory: Memory, first: Tensor, sampling: Sampling, *, count: int
) -> list[list[list[int]]]:
    """Several sequences for each row, drawn from p^(1 / temperature); the same whatever rows stand beside it.

    The token is argmax(log p / temperature - log(-log u)), u uniform: a number for each draw, step and token, and
    the same ones for every row.

    Args:
        model: what writes.
        memory: from the model's `begin`, of B rows.
        first: the tokens before the first that is written, (B,).
        sampling: how tokens are drawn; its steps, temperature above 0, end, never and seed (None is 0).
        count: sequences for each row.

    Returns:
        For each row `count` sequences, without the end.

    Raises:
        ValueError: no sequence or step, or a temperature of 0.

    Example:
        >>> from elman import Recurrent, models
        >>> model = models.LanguageModel(Recurrent("gru", 4, 8), 10).eval()
        >>> memory, first = model.begin(torch.tensor([[1, 2], [3, 4]]))
        >>> drawn = samples(model, memory, first, Sampling(steps=5), count=3)
        >>> len(drawn), len(drawn[0]), len(drawn[0][0])
        (2, 3, 5)
    """
    if count < 1 or sampling.steps < 1 or not sampling.temperature:
        found = f"count={count}, steps={sampling.steps}, temperature={sampling.temperature}"
        raise ValueError(f"draws need a sequence, a step and a temperature above 0, got {found}")
    rows, device = first.shape[0], first.device
    memory.select(torch.arange(rows, device=device).repeat_interleave(count))
    previous, written = first.repeat_interleave(count), []
    finished = torch.zeros(rows * count, dtype=torch.bool, device=device)
    for step in range(sampling.steps):
        scores = model.advance(previous, memory) / sampling.temperature
        if sampling.never:
            scores = scores + _refused(scores, sampling.never)
        noise = _gumbel(scores.shape[1], count, (sampling.seed or 0) + step).to(scores)
        previous = (scores.view(rows, count, -1) + noise).argmax(2).flatten()
        if sampling.end is not None:
            previous = previous.masked_fill(finished, sampling.end)
            finished = finished | (previous == sampling.end)
        written.append(previous)
        if bool(finished.all()):
            break
    texts = torch.stack(written, 1).view(rows, count, -1).tolist()
    return [[_until(sampling.end, text) for text in row] for row in texts]


def _gumbel(tokens: int, count: int, seed: int) -> Tensor:
    """-log(-log u), (count, tokens); those of the first tokens do not depend on how many there are."""
    uniform = torch.rand(tokens, count, generator=torch.Generator().manual_seed(seed))
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))).T


def _until(end: int | None, tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _collect(
    done: list[list[Hypothesis]], candidates: Tensor, sums: Tensor, ended: Tensor, beams: int, alpha: float
) -> None:
    """Adds the candidates that ended among the best `beams` of their row, which keeps its best."""
    for row, place in ended[:, :beams].nonzero().tolist():
        total = float(sums[row, place])
        if total > -torch.inf and not (beams == 1 and done[row]):
            done[row].append(_hypothesis(candidates[row, place].tolist(), total, alpha, ended=True))
            done[row].sort(key=lambda hypothesis: -hypothesis.score)
            del done[row][beams:]


def _is_over(found: list[Hypothesis], beams: int, bound: float) -> bool:
    """Whether a row's search is: a greedy one at its first end, others when nothing better can come."""
    return len(found) >= beams and (beams == 1 or bound <= found[-1].score)


def _hypothesis(tokens: list[int], total: float, alpha: float, *, ended: bool = False) -> Hypothesis:
    score = total / ((5 + len(tokens)) / 6) ** alpha
    return Hypothesis(tokens[:-1] if ended else tokens, total, score)
