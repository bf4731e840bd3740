"""JAX: `lax.scan` under jit, the input's product taken before the scan, the faster of two unrollings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.engine.grid import Case
from benchmarks.engine.problem import CHANGE, Arrays, differentiated, states
from benchmarks.engine.worker import Prepared, fastest, serve_library
from jax import lax
from jax.nn import sigmoid

UNROLLINGS = (1, 4)
EPS = 1e-5
Named = dict[str, Any]
Step = Callable[[Named, Any, tuple[Any, ...]], tuple[Any, ...]]


def rnn(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """The plain cell, with tanh."""
    return (jnp.tanh(a + s[0] @ p["weight_hh"].T + p["bias_hh"]),)


def gru(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """The reset gate after the product."""
    (h,) = s
    xr, xz, xn = jnp.split(a, 3, -1)
    hr, hz, hn = jnp.split(h @ p["weight_hh"].T + p["bias_hh"], 3, -1)
    z = sigmoid(xz + hz)
    n = jnp.tanh(xn + sigmoid(xr + hr) * hn)
    return ((1 - z) * n + z * h,)


def lstm(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without peepholes."""
    h, c = s
    i, f, g, o = jnp.split(a + h @ p["weight_hh"].T + p["bias_hh"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def peephole_lstm(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """Gates that see the cell state."""
    h, c = s
    i, f, g, o = jnp.split(a + h @ p["weight_hh"].T + p["bias_hh"], 4, -1)
    i, f = sigmoid(i + p["weight_ci"] * c), sigmoid(f + p["weight_cf"] * c)
    c = f * c + i * jnp.tanh(g)
    return sigmoid(o + p["weight_co"] * c) * jnp.tanh(c), c


def reset_before_gru(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """The reset gate before the product."""
    (h,) = s
    units = h.shape[-1]
    xr, xz, xn = jnp.split(a, 3, -1)
    gates, candidate = jnp.split(p["weight_hh"], [2 * units])
    r, z = jnp.split(h @ gates.T + p["bias_hh"][: 2 * units], 2, -1)
    r, z = sigmoid(xr + r), sigmoid(xz + z)
    n = jnp.tanh(xn + (r * h) @ candidate.T + p["bias_hh"][2 * units :])
    return ((1 - z) * n + z * h,)


def layer_norm_lstm(p: Named, a: Any, s: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both products normalised gate by gate, and the cell state before the output; `a` is normalised already."""
    h, c = s
    b = normalised(p, "hh", h @ p["weight_hh"].T)
    i, f, g, o = (u + v + p[f"shift_{n}"] for n, u, v in zip("ifgo", jnp.split(a, 4, -1), b, strict=True))
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(standard(c) * p["gain_c"] + p["shift_c"]), c


def standard(v: Any) -> Any:
    """Mean 0 and variance 1 over the units."""
    v = v - v.mean(-1, keepdims=True)
    return v * lax.rsqrt((v * v).mean(-1, keepdims=True) + EPS)


def normalised(p: Named, part: str, product: Any) -> list[Any]:
    """The gates of a product, each normalised and with its gain."""
    gates = zip("ifgo", jnp.split(product, 4, -1), strict=True)
    return [standard(one) * p[f"gain_{part}_{gate}"] for gate, one in gates]


def before(p: Named) -> Any:
    """What of the input no state enters, for all steps at once."""
    product = p["x"] @ p["weight_ih"].T
    return product + p["bias_ih"] if "bias_ih" in p else jnp.concatenate(normalised(p, "ih", product), -1)


STEPS: dict[str, Step] = {
    "rnn": rnn,
    "gru": gru,
    "lstm": lstm,
    "PeepholeLSTM": peephole_lstm,
    "ResetBeforeGRU": reset_before_gru,
    "LayerNormLSTM": layer_norm_lstm,
}


def layer(cell: str, unroll: int) -> Callable[[Named], tuple[Any, tuple[Any, ...]]]:
    """From the named arrays to the outputs and the final states."""
    step = STEPS[cell]

    def run(p: Named) -> tuple[Any, tuple[Any, ...]]:
        def body(s: tuple[Any, ...], a: Any) -> tuple[tuple[Any, ...], Any]:
            s = step(p, a, s)
            return s, s[0]

        start = tuple(p[f"{name}0"] for name in states(cell))
        final, y = lax.scan(body, start, before(p), unroll=unroll)
        return y, final

    return run


def prepare(case: Case, arrays: Arrays) -> Prepared:
    """The faster unrolling of the scan."""
    unrollings = [unroll for unroll in UNROLLINGS if unroll <= case.steps]
    return fastest({str(unroll): _prepared(case, arrays, unroll) for unroll in unrollings})


def _prepared(case: Case, arrays: Arrays, unroll: int) -> Prepared:
    run = layer(case.cell, unroll)
    given = {name: jnp.asarray(arrays[name]) for name in differentiated(arrays)}
    dy = jnp.asarray(arrays["dy"])

    def train(p: Named, dy: Any) -> tuple[Any, tuple[Any, ...], Named]:
        # dy comes from outside, as for torch.autograd.grad: nothing is spent on a loss.
        y, backward, final = jax.vjp(run, p, has_aux=True)
        return y, final, backward(dy)[0]

    infer, train, nudge = jax.jit(run), jax.jit(train), jax.jit(_nudge)
    now = [given, 1.0]

    def call() -> Any:
        return jax.block_until_ready(train(now[0], dy) if case.training else infer(now[0]))

    def change() -> None:
        now[1] = -now[1]
        now[0] = jax.block_until_ready(nudge(now[0], now[1] * CHANGE))

    def results() -> Arrays:
        y, final, *gradients = call()
        found = {"y": y, **dict(zip(states(case.cell), final, strict=True))}
        found |= {f"d {name}": value for g in gradients for name, value in g.items()}
        return {name: np.asarray(value) for name, value in found.items()}

    return Prepared(call, results, change if case.training else lambda: None, f"unroll {unroll}")


def _nudge(p: Named, by: Any) -> Named:
    outside = ("x", "h0", "c0")
    return {name: value if name in outside else value + by for name, value in p.items()}


if __name__ == "__main__":
    serve_library(prepare, ("jax", "jaxlib"))
