"""What all tests share: one thread, so that small work is quick and runs are alike; how hypothesis searches."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile("elman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elman")
