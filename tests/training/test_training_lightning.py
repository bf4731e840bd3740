"""The layers under PyTorch Lightning's Trainer."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

pytestmark = [
    # Lightning's own: old names of PyTorch's, advice about workers, its way of asking for a package's resources.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*pkg_resources.*"),
]


def test_an_lstm_of_elmans_learns_under_lightning(tmp_path):
    lightning = pytest.importorskip("pytorch_lightning")
    drop_in = pytest.importorskip("elman.nn")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = drop_in.LSTM(4, 16, batch_first=True)
            self.head = nn.Linear(16, 2)
            self.losses: list[float] = []

        def training_step(self, batch, number):
            inputs, targets = batch
            outputs, _ = self.layer(inputs)
            loss = nn.functional.cross_entropy(self.head(outputs[:, -1]), targets)
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.02)

    torch.manual_seed(0)
    inputs = torch.randn(64, 5, 4)
    data = torch.utils.data.TensorDataset(inputs, (inputs[:, 0, 0] > 0).long())
    model = Classifier()
    trainer = lightning.Trainer(
        max_epochs=15, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=16))
    assert len(model.losses) == 60
    assert sum(model.losses[-4:]) < 0.5 * sum(model.losses[:4])
