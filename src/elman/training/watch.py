"""Gradients through time while a model trains, as its own steps compute them: nothing is run twice."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from elman.errors import UserError
from elman.nn import Recurrent

EXPLODED = 100.0  # times the running median of the gradient's norm
VANISHED = 1e-6  # of the largest gradient along a sequence, at its far end
_RECENT, _LEAST = 100, 10  # norms that the median is taken of


class Watch:
    """Sees every step's gradient norm, and every so many steps what reaches the far end of the sequences.

    Args:
        model: what is trained.
        every: steps between two looks.
        clip: the norm that gradients are cut to, or None.
        say: is told when the gradient explodes or vanishes, with the step and the layer.

    Attributes:
        far: the least share of the gradient that reaches the far end of a layer, at the last look; None before.

    Raises:
        UserError: the model has no recurrent layer.
    """

    def __init__(self, model: nn.Module, every: int, clip: float | None, say: Callable[[str], None]) -> None:
        self._layers = {name: m for name, m in model.named_modules() if isinstance(m, Recurrent)}
        if not self._layers:
            fix = "leave it out, or train a model with an elman.Recurrent"
            raise UserError("the model has no recurrent layer to look into", where="train.insight_every", fix=fix)
        self._model, self._every, self._clip, self._say = model, every, clip, say
        self._norms: deque[float] = deque(maxlen=_RECENT)
        self._since: list[bool] = []  # whether each step since the last look was clipped
        self._vanished: set[str] = set()
        self._shares: dict[str, float] = {}
        self.far: float | None = None

    @contextmanager
    def looking(self, step: int) -> Iterator[dict[str, Any]]:
        """Around a step; what is yielded then holds the line for the record, where a look was due."""
        line: dict[str, Any] = {}
        if step % self._every:
            yield line
            return
        with ExitStack() as stack:
            looks = {name: stack.enter_context(_look(layer)) for name, layer in self._layers.items()}
            yield line
        far = {f"{name} {where}".strip(): v for name, look in looks.items() for where, v in look.far().items()}
        self._warn_of_vanishing(step, far)
        self.far = min(far.values(), default=None)
        clipped = sum(self._since) / len(self._since) if self._since and self._clip is not None else None
        self._since.clear()
        line |= {"far_gradient": self.far, "clipped": clipped}
        line |= {f"far_gradient/{name}": value for name, value in far.items()}
        line |= {f"share/{name}": share for name, share in self._shares.items()}

    def see(self, step: int, norm: float) -> None:
        """Of every step, after its backward run and before clipping."""
        if self._clip is not None:
            self._since.append(norm > self._clip)
        usual = statistics.median(self._norms) if len(self._norms) >= _LEAST else 0.0
        self._norms.append(norm)
        exploded = usual > 0 and norm > EXPLODED * usual
        if exploded or step % self._every == 0:
            self._shares = self._of_parameters()
        if exploded:
            name, share = max(self._shares.items(), key=lambda item: item[1])
            self._say(
                f"step {step}: the gradient explodes: its norm {norm:.3g} is {norm / usual:.0f} times the usual "
                f"{usual:.3g}, {100 * share:.0f} % of it in {name}"
            )

    def _of_parameters(self) -> dict[str, float]:
        from elman.insight import clip_shares

        named = self._model.named_parameters()
        return clip_shares({name: p.grad for name, p in named if p.grad is not None})

    def _warn_of_vanishing(self, step: int, far: dict[str, float]) -> None:
        for name, value in far.items():
            if value < VANISHED and name not in self._vanished:
                self._say(f"step {step}: the gradient vanishes in {name}: {value:.1e} of it reaches the far end")
        self._vanished = {name for name, value in far.items() if value < VANISHED}


class _Look:
    """What one layer's last call and its backward run show."""

    def __init__(self, layer: Recurrent, gradients: Any) -> None:
        self._layer, self._gradients = layer, gradients
        self._lengths: Tensor | None = None

    def note(self, _: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._lengths = named.get("lengths")

    def far(self) -> dict[str, float]:
        """By layer and direction, ||dL/ds|| at the far end of the median sequence over the largest on the way."""
        from elman.insight.gradient import mean_by_distance

        stack, found = self._layer.stack, {}
        for layer, way, suffix in stack.passes():
            states = [
                self._gradients[name + suffix]
                for name in stack.specs[0].states
                if name + suffix in self._gradients
            ]
            if not states:
                continue
            norms = torch.cat(states, -1).float().norm(dim=-1)
            rows, steps = norms.shape
            whole = torch.full((rows,), steps) if self._lengths is None else torch.as_tensor(self._lengths)
            lengths = whole.to(norms.device, torch.int64)
            curve = mean_by_distance(norms[None], lengths, [bool(way)])[0]
            end, most = int(lengths.median()) - 1, float(curve.nan_to_num().max())
            if end >= 1 and most > 0:
                found[f"layer {layer}" + " reversed" * way] = float(curve[end]) / most
        return found


@contextmanager
def _look(layer: Recurrent) -> Iterator[_Look]:
    with layer.state_gradients() as gradients:
        look = _Look(layer, gradients)
        with layer.register_forward_pre_hook(look.note, with_kwargs=True):
            yield look
