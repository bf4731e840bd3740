"""What leaves a process: atomic folders, and the model folder of safetensors and JSON."""

from __future__ import annotations

from elman.export.atomic import atomic_folder, atomic_write, current, recover
from elman.export.disk import disk_errors
from elman.export.folder import FORMAT_VERSION, MODEL_FILES, ModelFolder, read_model, save_model
from elman.export.manifest import read_folder, verify
from elman.export.tensors import first_not_finite, tensors_from_bytes, tensors_to_bytes

__all__ = [
    "FORMAT_VERSION",
    "MODEL_FILES",
    "ModelFolder",
    "atomic_folder",
    "atomic_write",
    "current",
    "disk_errors",
    "first_not_finite",
    "read_folder",
    "read_model",
    "recover",
    "save_model",
    "tensors_from_bytes",
    "tensors_to_bytes",
    "verify",
]
