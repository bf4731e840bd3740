import pytest
import torch
from torch import nn

from elman.insight import gradient_norms, lag_curve, taps, trace_call, trace_run
from elman.models import CarriedState, Committee, LanguageModel, ManyToMany, ManyToOne
from elman.nn import Recurrent
from every_cell import EVERY_CELL, WRAPPED
from tolerances import assert_equal

LENGTHS = torch.tensor([6, 2, 5])


def square(returned):
    y, state = returned
    return y.square().sum() + sum(s.sum() for s in state)


@pytest.mark.parametrize("name", [*EVERY_CELL, *WRAPPED])
def test_states_and_gradients_are_those_of_the_engine(name):
    cell = {**EVERY_CELL, **WRAPPED}[name]
    layer = Recurrent(cell, 3, 10, 2, bidirectional=True).double().eval()  # ten: some cells have five heads
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    run = trace_run(layer, x, LENGTHS, loss=square)
    with layer.state_gradients() as gradients:
        *returned, states = layer(x, lengths=LENGTHS, return_all=True)
        square(returned).backward()
    for index, (_, _, suffix) in enumerate(layer.stack.passes()):
        for state in run.states:
            assert_equal(run.states[state][index], states[state + suffix].detach(), state + suffix)
            assert_equal(run.gradients[state][index], gradients[state + suffix], state + suffix)
        for tap, values in taps(run).items():
            if tap + suffix in states:
                wanted = states[tap + suffix].detach()
                assert_equal(values[index], wanted, tap + suffix)


def test_what_arrives_goes_round_the_step():
    layer = Recurrent("lstm", 3, 4).double()
    run = trace_run(layer, torch.randn(2, 5, 3).double(), loss=lambda returned: returned[0][:, -1].sum())
    o, c = taps(run)["o"][0, :, -1], run.states["c"][0, :, -1]
    assert_equal(run.gradients["c"][0, :, -1], o * (1 - c.tanh() ** 2))
    assert not run.arriving["c"][0, :, -1].any()
    assert torch.equal(run.gradients["h"], run.arriving["h"])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_batch_is_its_rows_alone(bidirectional):
    layer = Recurrent("lstm", 3, 4, 2, bidirectional=bidirectional).double()
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    run = trace_run(layer, x, LENGTHS, loss=square)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = trace_run(layer, x[row : row + 1, :length], loss=square)
        for name in ("h", "c"):
            assert_equal(run.gradients[name][:, row, :length], alone.gradients[name][:, 0], name)
            assert_equal(run.entering[name][:, row, :length], alone.entering[name][:, 0], name)
            assert_equal(run.before[name][:, row, :length], alone.before[name][:, 0], name)
            assert not run.gradients[name][:, row, length:].any()


def test_what_a_step_began_with_is_what_the_step_before_left():
    layer = Recurrent("gru", 3, 4, bidirectional=True)
    run = trace_run(layer, torch.randn(2, 6, 3))
    assert torch.equal(run.before["h"][0, :, 1:], run.states["h"][0, :, :-1])
    assert torch.equal(run.before["h"][1, :, :-1], run.states["h"][1, :, 1:])
    assert not run.gradients


def test_windows_that_carry_their_state_are_one_sequence():
    model = LanguageModel(Recurrent("lstm", 3, 4), 7)
    carried, tokens = CarriedState(model, 2), torch.randint(7, (2, 9))
    parts = trace_call(carried, lambda: carried(tokens, None, 4).square().sum())["model.recurrent"]
    whole = trace_call(model, lambda: model(tokens)[0].square().sum())["recurrent"]
    torch.testing.assert_close(parts.gradients["c"], whole.gradients["c"])
    torch.testing.assert_close(parts.projections["model.head"][1], whole.projections["head"][1])


def test_resets_cut_the_past_off():
    layer = Recurrent("gru", 3, 4, bidirectional=True).double()
    x, resets = torch.randn(1, 7, 3, dtype=torch.float64), torch.zeros(1, 7, dtype=torch.bool)
    resets[0, 3] = True
    run = trace_call(layer, lambda: layer(x, resets=resets)[0].square().sum())[""]
    first = trace_run(layer, x[:, :3], loss=lambda returned: returned[0].square().sum())
    assert_equal(run.gradients["h"][:, :, :3], first.gradients["h"])
    found, wanted = lag_curve(run), lag_curve(trace_run(layer, x[:, 3:], loss=lambda r: r[0].square().sum()))
    assert not found[:, 4:].any()  # no part has more than three steps to look back
    assert (wanted > 0).all()


def test_a_state_that_nothing_reads_has_no_gradient_and_a_model_is_left_as_it_was():
    model = ManyToMany(Recurrent("rnn", 3, 4, backend="torch"), 2)
    stack = model.recurrent.stack
    run = trace_run(model, torch.randn(2, 5, 3), loss=lambda returned: returned[0][:, 2].sum())
    norms = gradient_norms(run)
    assert not norms[0, :, 3:].any()
    assert (norms[0, :, :3] > 0).all()
    assert model.recurrent.stack is stack
    assert model.recurrent.backend == "torch"
    assert not model.head._forward_hooks
    assert all(p.grad is None for p in model.parameters())


def test_a_models_own_output_reaches_the_loss():
    model = ManyToOne(Recurrent("gru", 5, 4, 2), 3, encoder=nn.Embedding(9, 5), pooling="mean+max")
    tokens, seen = torch.randint(9, (3, 6)), []
    trace_run(model, tokens, LENGTHS, loss=lambda scores: [seen.append(scores), scores.sum()][1])
    torch.testing.assert_close(seen[0], model(tokens, LENGTHS))


def test_what_cannot_be_traced_is_said():
    layer, x = Recurrent("rnn", 3, 4), torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match=r"Linear has no recurrent layer \(elman.Recurrent\)"):
        trace_run(nn.Linear(3, 2), x)
    with pytest.raises(ValueError, match=r"x has none"):
        trace_run(layer, x[:, :0])
    with pytest.raises(ValueError, match="loss does not depend"):
        trace_run(layer, x, loss=lambda returned: torch.ones(()))
    with pytest.raises(ValueError, match="called 2 times, not on one sequence"):
        trace_call(layer, lambda: layer(x)[0].sum() + layer(x)[0].sum())
    several = Committee(ManyToOne(Recurrent("rnn", 3, 4), 2) for _ in range(2))
    with pytest.raises(ValueError, match=r"name one by layer=: members.0.recurrent, members.1.recurrent"):
        trace_run(several, x, loss=lambda scores: scores.sum())
    run = trace_run(several, x, loss=lambda scores: scores.sum(), layer="members.1.recurrent")
    assert run.steps == 5
    with pytest.raises(ValueError, match=r"draws random numbers in training: call model.eval\(\) first"):
        trace_run(Recurrent(WRAPPED["zoneout"], 3, 4), x)
    with pytest.raises(ValueError, match="needs gradients"):
        gradient_norms(trace_run(layer, x))
    with pytest.raises(ValueError, match="no state 'c'; there are: h"):
        gradient_norms(trace_run(layer, x, loss=square), "c")
    with pytest.raises(ValueError, match="2 steps or more, the longest has 1"):
        lag_curve(trace_run(layer, x[:, :1], loss=square))
    x[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="state h is not finite"):
        trace_run(layer, x)
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] = torch.nan
    with pytest.raises(ValueError, match="parameter weight_hh_l0 holds numbers that are not finite"):
        trace_run(layer, x)
