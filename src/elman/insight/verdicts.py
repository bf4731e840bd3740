"""A verdict in words: whether a network's gradient vanishes, explodes or survives, why, and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elman.cells import Wrapper
from elman.insight.activity import dead_units, saturation
from elman.insight.gradient import effective_memory, lag_curve
from elman.insight.tracing import TracedRun

# ---- choices -------------------------------------------------------------------------------------------------
LOST = 0.01  # left of the gradient over a whole sequence: less has vanished
GROWN = 100.0  # times as much over a whole sequence: more has exploded
STUCK = 0.5  # mean share of saturated values over a cell's gates
DEAD = 0.5  # share of relu units that are 0 throughout
CLIPPED = 0.5  # share of training steps whose gradient is cut
CUT = 1 / math.e  # what is left of the gradient where a window ends: more is worth a longer one
STEADY = ("rglru", "lru")  # cells whose step never stretches the state, and that begin with long memories
# --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remedy:
    """A setting to change.

    Attributes:
        setting: as `elman train NAME --set` takes it, "model.cell=rglru".
        why: what it does, in words.
    """

    setting: str
    why: str

    def __str__(self) -> str:
        return f"--set {self.setting}  ({self.why})"


@dataclass(frozen=True)
class Finding:
    """One thing that is so.

    Attributes:
        kind: "vanishing", "exploding", "saturated gates", "dead units", "window too short" or "clipped too often".
        where: the layer and direction, or "training".
        value: the measure that it was judged by: what is left of the gradient; the share that is stuck, dead or
            clipped.
        sentence: it in words, with its numbers.
        remedies: the likeliest first.
    """

    kind: str
    where: str
    value: float
    sentence: str
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True)
class Verdict:
    """What was found in a run; of a healthy network, nothing.

    Attributes:
        findings: the gravest first.
        numbers: of each layer and direction: `left` of the gradient over the sequence, `rate` a step, `half`,
            `memory` (1/e) and `horizon` (1 %) in steps, inf where longer than the sequence; `steps` of a sequence;
            `saturated`, `dead` (shares).
    """

    findings: tuple[Finding, ...]
    numbers: Mapping[str, Mapping[str, float]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Each kind once; ("healthy",) where nothing was found."""
        return tuple(dict.fromkeys(finding.kind for finding in self.findings)) or ("healthy",)

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """Of all findings, each once."""
        return tuple(dict.fromkeys(remedy for finding in self.findings for remedy in finding.remedies))

    @property
    def sentence(self) -> str:
        """What was found, or what a healthy network keeps."""
        if self.findings:
            return "; ".join(finding.sentence for finding in self.findings)
        name, weakest = min(self.numbers.items(), key=lambda item: item[1]["left"])
        return f"{name}: healthy, {_percent(weakest['left'])} of the gradient is left over {weakest['lags']} steps"

    def __str__(self) -> str:
        lines = [f"{', '.join(self.kinds)}: {self.sentence}", *map(str, self.remedies)]
        return "\n".join(lines)


def verdict(
    run: TracedRun, *, settings: Mapping[str, Any] | None = None, norms: Sequence[float] | None = None
) -> Verdict:
    """Judges a run: does the gradient vanish, explode or survive, and what stands in its way?

    Each pass is judged by its `lag_curve` over the typical sequence of the batch (the median length, or the window
    that gradients run back over, where `settings` has one), against its value at lag 1:

        vanishing            less than 1 % is left
        exploding            more than 100 times as much anywhere on the way
        saturated gates      more than half of the squashed values stand at their bounds (`saturation`)
        dead units           more than half of the relu units are never on (`dead_units`)
        window too short     more than 1/e is left where the window ends: what came before could still be learnt
        clipped too often    more than half of the `norms` lie above the limit

    Args:
        run: traced with a loss; what it costs grows with the number of steps times that of lags: some rows are
            enough.
        settings: of the training, by dotted key (`model.cell`, `train.clip`, `data.window`, ...), as
            `elman recipes NAME` lists them; only what it holds is offered for a change. None: offered is what
            every recipe has.
        norms: gradient norms before clipping, of training steps (`gradient_norm` in `metrics.jsonl`).

    Raises:
        ValueError: the run has no loss, or no row has three steps.

    Source:
        What vanishing and exploding mean: R. Pascanu, T. Mikolov and Y. Bengio, arXiv:1211.5063v2.

    Example:
        >>> import torch
        >>> from elman.insight import trace_run
        >>> from elman.nn import Recurrent
        >>> _ = torch.manual_seed(0)
        >>> run = trace_run(Recurrent("rnn", 3, 8), torch.randn(4, 40, 3), loss=lambda r: r[0][:, -1].sum())
        >>> found = verdict(run)
        >>> found.kinds, found.remedies[0].setting
        (('vanishing',), 'model.cell=rglru')
    """
    run.need_gradients()
    run.need_steps(3)
    known = {} if settings is None else settings
    window = known.get("data.reach") or known.get("data.window")
    steps = int(run.lengths[run.lengths > 0].double().quantile(0.5))
    lags = max(2, min(run.steps - 1, steps - 1, window or steps))
    curves = lag_curve(run, lags).double()
    stuck, dead = _shares(run, saturation(run)), _shares(run, dead_units(run))
    numbers = {
        name: {**_numbers(curves[p]), "steps": steps, "lags": lags, "saturated": stuck[p], "dead": dead[p]}
        for p, name in enumerate(run.names)
    }
    findings = [f for name, own in numbers.items() for f in _findings(name, own, known, window)]
    findings += _clipped(known.get("train.clip"), norms)
    offered = [_offered(finding, run, settings, bool(norms)) for finding in findings]
    return Verdict(tuple(sorted(offered, key=lambda f: _GRAVITY.index(f.kind))), numbers)


_GRAVITY = ("exploding", "dead units", "saturated gates", "vanishing", "clipped too often", "window too short")


def _numbers(curve: Tensor) -> dict[str, float]:
    """What a curve says, each against its value at lag 1."""
    known = curve[1:][curve[1:].isfinite()]
    begin = float(known[0]) if len(known) else 0.0
    if begin <= 0:  # nothing passes even one step
        return dict.fromkeys(("left", "highest", "rate", "half", "memory", "horizon"), 0.0)
    left, span = float(known[-1]) / begin, max(1, len(known) - 1)
    half, memory, horizon = (float(effective_memory(curve, part)) for part in (0.5, 1 / math.e, 0.01))
    rate = 0.01 ** (1 / horizon) if 0 < horizon < math.inf else left ** (1 / span)
    highest = float(known.max()) / begin
    return {
        "left": left, "highest": highest, "rate": rate, "half": half, "memory": memory, "horizon": horizon
    }  # fmt: skip


def _shares(run: TracedRun, by_name: Mapping[str, Tensor]) -> list[float]:
    """The mean over names and units, of each pass."""
    if not by_name:
        return [0.0] * len(run.outputs)
    return [
        sum(float(v[p].double().mean()) for v in by_name.values()) / len(by_name) for p in range(len(run.outputs))
    ]


def _findings(
    name: str, own: Mapping[str, float], settings: Mapping[str, Any], window: int | None
) -> Iterator[Finding]:
    steps, lags, rate = int(own["steps"]), int(own["lags"]), own["rate"]
    if own["highest"] > GROWN:
        said = f"the gradient grows by {_step(rate)} a step, {own['highest']:.3g} times within {lags} steps"
        yield _finding("exploding", name, own["highest"], said)
    elif own["left"] < LOST:
        said = "no gradient passes a single step"
        if rate > 0:
            said = (
                f"the gradient falls by {_step(rate)} a step: half is gone after {own['half']:.1f} steps, "
                f"1 % is left after {own['horizon']:.0f}; your sequences have {steps} steps"
            )
        yield _finding("vanishing", name, own["left"], said)
    elif window is not None and own["left"] > CUT:
        said = f"{_percent(own['left'])} of the gradient is left where the window of {window} steps cuts it off"
        reach = Remedy(f"data.reach={8 * window}", "gradients run back eight windows")
        yield Finding("window too short", name, own["left"], f"{name}: {said}", (reach,))
    if own["saturated"] > STUCK:
        said = f"{_percent(own['saturated'])} of what gates and squashed units say stands at its bounds"
        yield _finding("saturated gates", name, own["saturated"], said)
    if own["dead"] > DEAD:
        yield _finding("dead units", name, own["dead"], f"{_percent(own['dead'])} of the units are never on")


def _finding(kind: str, where: str, value: float, said: str) -> Finding:
    return Finding(kind, where, value, f"{where}: {said}", ())


def _clipped(limit: float | None, norms: Sequence[float] | None) -> list[Finding]:
    """Whether training cuts most of its gradients."""
    if limit is None or not norms:
        return []
    share = sum(norm > limit for norm in norms) / len(norms)
    if share <= CLIPPED:
        return []
    high = sorted(norms)[math.ceil(0.9 * len(norms)) - 1]
    enough = float(f"{1.05 * high:.2g}")
    said = f"training: {_percent(share)} of the steps are clipped to a norm of {limit:g}"
    raised = Remedy(f"train.clip={enough:g}", "nine of ten gradients then pass as they are")
    return [Finding("clipped too often", "training", share, said, (raised,))]


def _offered(finding: Finding, run: TracedRun, settings: Mapping[str, Any] | None, trained: bool) -> Finding:
    """The finding with its remedies: those that change something and that the recipe has."""
    inner = run.cell
    while isinstance(inner, Wrapper):
        inner = inner.cell
    cell = type(inner).__name__.lower()
    found = [*finding.remedies, *_remedies(finding.kind, cell, settings or {}, trained)]
    if settings is not None:
        found = [r for r in found if r.setting.partition("=")[0] in settings]
    return Finding(finding.kind, finding.where, finding.value, finding.sentence, tuple(found))


def _remedies(kind: str, cell: str, settings: Mapping[str, Any], trained: bool) -> Iterator[Remedy]:
    steady = next((name for name in STEADY if name != cell), STEADY[0])
    rate = settings.get("train.learning_rate")
    slower = Remedy(f"train.learning_rate={rate / 10:.2g}", "weights stay small") if rate else None
    if kind == "vanishing":
        yield Remedy(f"model.cell={steady}", "its state decays slowly by construction")
        if cell != "lstm":
            yield Remedy("model.cell=lstm", "its forget gate can learn to keep the state")
        if settings.get("model.pooling") == "last":
            yield Remedy("model.pooling=mean+max", "the loss reaches every step directly")
    elif kind == "exploding":
        yield Remedy(f"model.cell={steady}", "its step never stretches the state")
        limit = settings.get("train.clip")
        tighter = 0.5 if not limit or limit > 0.5 else float(f"{limit / 2:.2g}")
        yield Remedy(f"train.clip={tighter:g}", "one steep step no longer throws the weights away")
    elif kind == "saturated gates":
        normalised = Remedy("model.cell=layernormlstm", "what enters its gates is normalised")
        both = [slower] if slower else []
        both += [normalised] if cell != "layernormlstm" else []
        yield from both if trained else reversed(both)  # what training did, smaller steps would not have done
    elif kind == "dead units":
        yield Remedy("model.cell=gru", "it has no relu that could die")
    if slower and kind in ("exploding", "dead units"):
        yield slower


def _step(rate: float) -> str:
    return f"{rate:.2f}" if rate >= 0.1 else f"{rate:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
