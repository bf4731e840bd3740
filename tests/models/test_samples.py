"""Several sequences drawn for each row: as often as p says, and whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elman import Recurrent
from elman.models import EncoderDecoder, LanguageModel, Memory, Sampling, samples


class Coin:
    """A writer of two tokens with p = 0.2 and 0.8, whatever came before."""

    def __init__(self) -> None:
        self.model = LanguageModel(Recurrent("gru", 4, 4), 2).eval()

    def begin(self, rows: int) -> tuple[Memory, Tensor]:
        return self.model.begin(torch.zeros(rows, 1, dtype=torch.int64))

    def advance(self, previous: Tensor, memory: Memory) -> Tensor:
        return torch.tensor([0.2, 0.8]).log().expand(len(previous), 2)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.8), (0.5, 0.64 / 0.68), (2.0, 2 / 3)])
def test_tokens_come_as_often_as_p_says(temperature: float, share: float) -> None:
    coin = Coin()
    drawn = samples(coin, *coin.begin(1), Sampling(steps=50, temperature=temperature), count=200)
    assert torch.tensor(drawn).float().mean().item() == pytest.approx(share, abs=0.02)


def test_a_rows_draws_do_not_depend_on_the_others_or_on_their_new_words() -> None:
    torch.manual_seed(0)
    reader = Recurrent("gru", 6, 6, bidirectional=True)
    model = EncoderDecoder(reader, Recurrent("gru", 6, 6), 12, copying=True).eval()
    source, lengths = torch.tensor([[4, 12, 0, 0], [5, 12, 13, 14]]), torch.tensor([2, 4])
    sampling = Sampling(steps=8, temperature=0.7, end=3, never=(0,), seed=5)
    both = samples(model, model.begin(source, lengths, 3), torch.tensor([2, 2]), sampling, count=6)
    alone = samples(model, model.begin(source[:1, :2], lengths[:1], 1), torch.tensor([2]), sampling, count=6)
    assert both[0] == alone[0]
    assert len({tuple(text) for text in both[0]}) > 1
    assert all(3 not in text and 0 not in text and len(text) <= 8 for row in both for text in row)
    other = samples(
        model, model.begin(source, lengths, 3), torch.tensor([2, 2]), Sampling(steps=8, end=3, seed=50), count=6
    )
    assert other != both


def test_nothing_to_draw_is_refused() -> None:
    coin = Coin()
    for count, sampling in ((0, Sampling()), (1, Sampling(steps=0)), (1, Sampling(temperature=0))):
        with pytest.raises(ValueError, match="a temperature above 0"):
            samples(coin, *coin.begin(1), sampling, count=count)
