"""convert and revert swap classes inside any model and change nothing else."""

from __future__ import annotations

import copy
import doctest
import importlib
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves

from elman.nn import drop_in, drop_in_cells
from elman.nn.conversion import convert, report, revert
from tolerances import assert_equal

KINDS = ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"]


def ours(name):
    return getattr(drop_in_cells if name.endswith("Cell") else drop_in, name)


class Twice(nn.GRU):
    """A layer of a user with a forward of its own."""

    def forward(self, input, hx=None):
        return super().forward(input * 2, hx)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.5), nn.GRU(8, 4)])
        self.cell = nn.GRUCell(4, 4)
        self.again = self.cell
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(self.cell(x[-1]))


def run_by(backend, model):
    for module in model.modules():
        if isinstance(module, drop_in.DropIn):
            module.backend = backend


def example(name):
    return torch.randn((4, 3) if name.endswith("Cell") else (6, 4, 3), generator=torch.Generator().manual_seed(1))


def assert_agree(backend, expected, found):
    """The same bits from torch's kernels, the same numbers from the engine."""
    for a, b in zip(expected, found, strict=True):
        if backend == "torch":
            assert torch.equal(a, b)
        assert_equal(b, a)


@pytest.mark.parametrize("name", KINDS)
def test_each_class_there_and_back(name):
    module = getattr(nn, name)(3, 5)
    kept, before = dict(module.named_parameters()), tree_leaves(module(example(name)))
    assert convert(module, quiet=True) is module
    assert type(module) is ours(name)
    assert module.backend == "auto"
    assert all(kept[key] is value for key, value in module.named_parameters())
    for backend in ("auto", "torch", "eager"):
        module.backend = backend
        assert_agree(backend, before, tree_leaves(module(example(name))))
    assert revert(module) is module
    assert type(module) is getattr(nn, name)
    assert "backend" not in module.__dict__
    assert all(map(torch.equal, before, tree_leaves(module(example(name)))))


# In training rounding grows: float64 leaves it room.
@pytest.mark.parametrize(("backend", "dtype"), [("torch", torch.float32), ("auto", torch.float64)])
def test_a_model_in_training_goes_on_with_its_optimizer(backend, dtype):
    torch.manual_seed(0)
    plain = Tagger().to(dtype)
    swapped = copy.deepcopy(plain)
    x, losses = torch.randn(6, 4, 3, dtype=dtype), {}
    for model in (plain, swapped):
        torch.manual_seed(9)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        losses[model] = []
        for step in range(4):
            if step == 2 and model is swapped:
                run_by(backend, convert(model, quiet=True))
            if step == 3 and model is swapped:
                revert(model)
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            losses[model].append(loss.detach())
    assert_agree(backend, losses[plain], losses[swapped])
    assert len({loss.item() for loss in losses[plain]}) == 4
    run_by(backend, convert(swapped, quiet=True))
    assert_agree(backend, [plain.eval()(x)], [swapped.eval()(x)])
    assert list(plain.state_dict()) == list(swapped.state_dict())


def test_everything_in_a_model_is_swapped_and_a_second_call_changes_nothing():
    model = convert(Tagger(), quiet=True)
    assert [type(layer) for layer in model.layers] == [drop_in.LSTM, drop_in.GRU]
    assert model.cell is model.again
    assert type(model.cell) is drop_in_cells.GRUCell
    first = report(model)
    assert [finding.state for finding in first.findings] == ["elman"] * 3
    assert report(convert(model, quiet=True)) == first
    assert report(revert(model)).count("torch") == 3


def test_hooks_and_assigned_state_stay():
    layer, calls = nn.GRU(3, 5), []
    layer.register_forward_hook(lambda module, *_: calls.append(type(module)))
    layer.note = "kept"
    layer.eval()
    convert(layer, quiet=True)(example("GRU"))
    assert calls == [drop_in.GRU]
    assert layer.note == "kept"
    assert not layer.training


def test_what_is_left_is_named_with_its_reason(capsys):
    model = nn.ModuleDict({"own": Twice(3, 5), "plain": nn.GRU(3, 5), "normed": nn.LSTM(3, 5)})
    parametrizations.weight_norm(model["normed"], "weight_hh_l0")
    model["patched"] = nn.RNN(3, 5)
    model["patched"].forward = lambda x: x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript and quantized tensors are on their way out
        model["script"] = torch.jit.script(nn.LSTM(3, 5))
        quantize = torch.ao.quantization.quantize_dynamic
        model["small"] = quantize(nn.Sequential(nn.LSTM(3, 5)), {nn.LSTM})[0]
    before = {name: type(module) for name, module in model.items()}
    convert(model)
    assert {n for n, m in model.items() if type(m) is not before[n]} == {"plain"}
    reasons = {finding.name: finding.reason for finding in report(model).findings}
    assert reasons["plain"] == ""
    for name, word in [
        ("own", "subclass with its own forward; derive it from elman.nn.GRU"),
        ("normed", "parametrized"),
        ("patched", "forward was replaced on the instance"),
        ("script", "TorchScript"),
        ("small", "quantized"),
    ]:
        assert word in reasons[name]
    written = capsys.readouterr()
    assert written.out == ""
    assert "6 recurrent modules: 1 run by Elman, 0 by torch, 5 left alone" in written.err
    assert "  plain: GRU, elman\n" in written.err
    assert f"  own: Twice, left, because {reasons['own']}\n" in written.err


def test_quiet_and_a_model_without_any(capsys):
    convert(nn.GRU(3, 5), quiet=True)
    assert capsys.readouterr().err == ""
    convert(nn.Linear(2, 2))
    assert capsys.readouterr().err == "elman.convert: no recurrent module found\n"


@pytest.mark.parametrize("call", [convert, revert, report])
def test_other_objects_are_refused(call):
    with pytest.raises(TypeError, match=r"a torch.nn.Module is needed, got dict; pass the object that holds"):
        call({"layer": nn.GRU(3, 5)})


def test_converted_models_are_copied_and_pickled_and_old_ones_read():
    model = convert(Tagger().eval(), quiet=True)
    x = torch.randn(6, 4, 3)
    for again in (copy.deepcopy(model), pickle.load(io.BytesIO(pickle.dumps(model)))):
        assert torch.equal(again(x), model(x))
        assert report(again) == report(model)
    old = pickle.loads(pickle.dumps(Tagger().eval()))
    expected = old(x)
    for backend in ("auto", "torch"):
        run_by(backend, convert(old, quiet=True))
        assert_agree(backend, [expected], [old(x)])


def test_a_model_compiled_before_is_compiled_again():
    model = nn.Sequential(nn.GRU(3, 5)).eval()
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(6, 4, 3)
    expected = compiled(x)
    convert(compiled, quiet=True)
    assert type(model[0]) is drop_in.GRU
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph

    assert all(map(torch.equal, tree_leaves(expected), tree_leaves(compiled(x))))
    whole = torch.compile(model, fullgraph=True, backend=count)
    assert all(map(torch.equal, tree_leaves(expected), tree_leaves(whole(x))))
    assert len(sizes) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_model_of_lightning(tmp_path):
    lightning = importlib.import_module("pytorch_lightning")
    demos = importlib.import_module("pytorch_lightning.demos.lstm")

    class Words(demos.LightningLSTM):
        """Lightning's language model on numbers at hand; its own data would be fetched."""

        def __init__(self):
            super().__init__()
            self.model = demos.SimpleLSTM(vocab_size=11, ninp=8, nhid=8, nlayers=2)

        def prepare_data(self):
            """Nothing to fetch."""

        def train_dataloader(self):
            words = torch.randint(0, 11, (4, 2, 6), generator=torch.Generator().manual_seed(2))
            return torch.utils.data.DataLoader(
                [(w[:, :-1], w[:, 1:].contiguous()) for w in words], batch_size=None
            )

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    trained = []
    for backend in (None, "torch", "auto"):
        lightning.seed_everything(3, verbose=False)
        model = Words()
        start = copy.deepcopy(model.state_dict())
        if backend is not None:
            run_by(backend, convert(model, quiet=True))
            assert [(f.name, f.kind, f.state) for f in report(model).findings] == [("model.rnn", "LSTM", "elman")]
        trainer = lightning.Trainer(
            max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(model)
        assert not torch.equal(model.state_dict()["model.rnn.weight_hh_l1"], start["model.rnn.weight_hh_l1"])
        trained.append(model.state_dict())
    for backend, found in zip(("torch", "auto"), trained[1:], strict=True):
        assert list(trained[0]) == list(found)
        assert_agree(backend, trained[0].values(), found.values())


def test_examples_in_the_docstrings_run():
    module = importlib.import_module("elman.nn.conversion")
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
