"""What the forward run keeps for the backward run: the cheapest values from which the others are recomputed.

Every state is kept at every step anyway, before and after the step, so those cost nothing. What else to keep is a
minimum cut of the graph from value to reader, where a value's capacity is its width: the cut separates the sources
(products and reductions, which are never recomputed) from what the backward step reads.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from elman.engine.differentiate import RAW
from elman.engine.program import WHOLE, Program, Tape, Value, prune

Place = tuple[int, str] | str  # a node's entrance or exit, the source, the sink
Flow = dict[Place, dict[Place, float]]


@dataclass(frozen=True)
class Plan:
    """Which forward nodes are kept, in order, and the backward program that reads them as `saved`.

    Results of `backward` beside those of `differentiate`: `("operand", i)`, the forward node i by whose matrix a
    weight's gradient is formed.
    """

    kept: tuple[int, ...]
    backward: Program


def plan(forward: Program, backward: Program) -> Plan:
    """Decides where the backward program reads each forward value.

    Example:
        >>> from elman.cells.lstm import LSTM
        >>> from elman.engine.differentiate import differentiate
        >>> from elman.engine.trace import trace
        >>> step = trace(LSTM(), LSTM().spec(3, 5))
        >>> [step.nodes[i].op for i in plan(step, differentiate(step)).kept]
        ['sigmoid', 'sigmoid', 'sigmoid', 'tanh']
    """
    operands = {key[3] for key in backward.outputs if key[0] == "gate" and key[3] != RAW}
    needed = {n.attr for n in backward.nodes if n.op == "value"} | operands
    after = {forward.outputs["state", name]: name for name in forward.spec.states}
    cost = [0 if n.op == "state" or i in after else n.width for i, n in enumerate(forward.nodes)]
    cut = minimum_cut(forward, needed, cost)
    kept = tuple(i for i in cut if cost[i])
    return Plan(kept, rebuild(forward, backward, kept, operands))


def minimum_cut(forward: Program, needed: set[int], cost: list[int]) -> list[int]:
    """The nodes of the cheapest cut; among equals the one nearest to the readers, where least is recomputed."""
    flow = network(forward, needed, cost)
    while path := augmenting_path(flow):
        amount = min(flow[a][b] for a, b in path)
        for a, b in path:
            flow[a][b] -= amount
            flow[b][a] += amount
    back: Flow = defaultdict(dict)
    for a, row in flow.items():
        for b, left in row.items():
            if left:
                back[b][a] = left
    near = reachable(back, "sink")
    return [i for i in range(len(cost)) if (i, "out") in near and (i, "in") in flow and (i, "in") not in near]


def network(forward: Program, needed: set[int], cost: list[int]) -> Flow:
    """Each node is an edge as wide as its cost. x_t, vectors, noise and constants are at hand and not in it."""
    flow: Flow = defaultdict(lambda: defaultdict(float))

    def edge(a: Place, b: Place, capacity: float) -> None:
        flow[a][b] += capacity
        flow[b][a] += 0

    for i, n in enumerate(forward.nodes):
        if n.op in ("raw", "vector", "noise", "const"):
            continue
        edge((i, "in"), (i, "out"), cost[i])
        if n.op in ("state", *WHOLE):
            edge("source", (i, "in"), float("inf"))
        else:
            for a in n.args:
                edge((a, "out"), (i, "in"), float("inf"))
        if i in needed:
            edge((i, "out"), "sink", float("inf"))
    return flow


def augmenting_path(flow: Flow) -> list[tuple[Place, Place]]:
    """A shortest path with capacity left, as edges; empty if there is none."""
    parent: dict[Place, Place] = {}
    queue: deque[Place] = deque(["source"])
    while queue and "sink" not in parent:
        a = queue.popleft()
        for b, left in flow[a].items():
            if left and b != "source" and b not in parent:
                parent[b] = a
                queue.append(b)
    path: list[tuple[Place, Place]] = []
    place: Place = "sink"
    while place in parent:
        path.append((parent[place], place))
        place = parent[place]
    return path


def reachable(edges: Mapping[Place, Mapping[Place, float]], start: Place) -> set[Place]:
    """Every place that can be reached from `start`."""
    seen, stack = {start}, [start]
    while stack:
        for b in edges.get(stack.pop(), ()):
            if b not in seen:
                seen.add(b)
                stack.append(b)
    return seen


def rebuild(forward: Program, backward: Program, kept: tuple[int, ...], operands: set[int]) -> Program:
    """The backward program with every forward value read from where it lies, or recomputed."""
    tape = Tape()
    after = {forward.outputs["state", name]: name for name in forward.spec.states}
    known: dict[int, Value] = {}

    def value(i: int) -> Value:
        n = forward.nodes[i]
        if i not in known:
            if not n.args:
                known[i] = tape.add(n)
            elif i in after:
                known[i] = tape.node("after", attr=after[i], width=n.width, rows=True)
            elif i in kept:
                known[i] = tape.node("saved", attr=kept.index(i), width=n.width, rows=True)
            else:
                known[i] = tape.copy_of(n, {a: value(a) for a in n.args})
        return known[i]

    new: dict[int, Value] = {}
    for i, n in enumerate(backward.nodes):
        new[i] = value(n.attr) if n.op == "value" else tape.copy_of(n, new)
    outputs: dict[tuple[Any, ...], int] = {key: new[i].id for key, i in backward.outputs.items()}
    outputs |= {("operand", i): value(i).id for i in sorted(operands)}
    return prune(replace(backward, nodes=tuple(tape.nodes), outputs=outputs))
