"""How the compiled core is built, found and loaded; what is said where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from zipfile import ZipFile

import pytest

import elman
from elman.engine.extension import native, why_not

CHECKOUT = Path(elman.__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="ELF and /proc are Linux's")

USES_LAYERS = """
import re
from pathlib import Path
import torch
from elman.engine.extension import native, why_not
from elman.nn import LSTM, Recurrent
assert native() is not None, why_not()
for layer in (LSTM(40, 40, batch_first=True), Recurrent("lstm", 40, 40)):
    y, _ = layer(torch.ones(64, 30, 40))
    y.sum().backward()
mapped = re.findall(r"/\\S*/lib(?:g|i)?omp\\S*", Path("/proc/self/maps").read_text())
print(*sorted(set(mapped)))
"""
HIDDEN = """
import sys
sys.modules["elman._native"] = None
from elman.engine.extension import native, why_not
assert native() is None
"""
EXPLAINS = """
import torch
from elman import explain
from elman.cli.doctor import _findings
from elman.nn import LSTM, Recurrent
x = torch.zeros(1, 4, 2)
print(explain(LSTM(2, 3), x))
print(explain(Recurrent("gru", 2, 3), x))
print(explain(Recurrent("gru", 2, 3), x, resets=torch.zeros(1, 4, dtype=torch.bool)))
print(_findings()["machine"]["native engine"])
"""
TESTS = """
import pytest
sys.exit(pytest.main(["-p", "no:randomly", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd="/",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.native
def test_it_is_built_and_says_so():
    assert native() is not None, why_not()
    assert why_not() is None
    assert native() is native()
    assert "built; instruction sets: " in python(
        "from elman.cli.doctor import _findings as f; print(f()['machine'])"
    )


@pytest.mark.native
@LINUX
def test_it_offers_the_instruction_sets_of_this_processor_the_best_first():
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    needs = {"avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"}, "avx2": {"avx2", "fma"}}
    expected = [name for name, needed in needs.items() if needed <= flags]
    expected += ["neon"] * ("asimd" in flags) + ["generic"]
    assert native().instruction_sets() == expected


@pytest.mark.native
@LINUX
def test_exactly_one_openmp_is_mapped_after_the_layers_ran():
    assert len(python(USES_LAYERS, OMP_NUM_THREADS="2").split()) == 1


@pytest.mark.native
@LINUX
def test_it_links_neither_openmp_nor_torch():
    told = subprocess.run(["readelf", "--dynamic", native().__file__], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", told.stdout)
    assert "libc.so.6" in needed
    assert not [name for name in needed if re.search("omp|torch|c10|python", name)]


def test_importing_elman_leaves_it_alone():
    script = "import sys, elman, elman.cells; print('elman._native' in sys.modules)"
    assert python(script) == "False"


def test_a_checkout_without_it_says_what_to_run():
    assert python(HIDDEN + "print(why_not())").startswith("not built in this checkout; fix: `make native`")


def test_what_runs_without_it_says_what_is_missed_and_what_to_do():
    drop_in, layer, with_resets, doctor = python(HIDDEN + EXPLAINS).splitlines()
    fix = "not built in this checkout; fix: `make native` (the compiler on Debian: apt-get install g++)"
    kernels = f"(torch has kernels for this cell; the native engine, on average twice as fast, is {fix})"
    assert drop_in == f"LSTM: torch {kernels}"
    assert layer == f"Recurrent layer 0: torch {kernels}"
    assert with_resets.startswith("Recurrent layer 0: eager (torch's kernels know no resets inside a sequence; ")
    assert with_resets.endswith(f"the native engine, 2 to 40 times as fast, is {fix})")
    assert doctor.startswith(f"{fix}. Elman runs without it, slower: the engine is on average twice as fast as ")


@pytest.mark.parametrize("required", [False, True])
def test_tests_of_it_are_left_out_and_counted_or_fail_where_it_is_required(required):
    """Of two tests of the engine and one of something else, run where there is none, the last passes."""
    of_the_engine = test_it_is_built_and_says_so, test_exactly_one_openmp_is_mapped_after_the_layers_ran
    names = [f"{__file__}::{test.__name__}" for test in (*of_the_engine, test_importing_elman_leaves_it_alone)]
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + TESTS, *names],
        capture_output=True, text=True, check=False, cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "ELMAN_REQUIRE_NATIVE": "1" if required else ""},
    )  # fmt: skip
    left_out = "2 tests of the native engine were left out: it is not built in this checkout; fix: `make native`"
    assert done.returncode == (1 if required else 0), done.stdout
    assert (left_out in done.stdout) != required
    assert ("1 passed, 2 errors" if required else "1 passed, 2 skipped") in done.stdout
    assert ("ELMAN_REQUIRE_NATIVE is set, and the native engine is not built" in done.stdout) == required


def test_one_that_does_not_load_says_why(tmp_path):
    package = shutil.copytree(
        CHECKOUT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (package / "elman" / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library")
    said = python("from elman.engine.extension import why_not; print(why_not())", PYTHONPATH=str(package))
    assert said.startswith("built, but does not load here: ")


def test_without_a_compiler_the_wheel_is_the_package_alone_and_says_so(tmp_path):
    """What `pip install` does, with a compiler that always fails; no network."""
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(CHECKOUT / name, tmp_path)
    for name in ("src", "csrc", "build_backend"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from elman_build import build_wheel; build_wheel('.')"
    environment = {**os.environ, "CXX": "false", "ELMAN_REQUIRE_NATIVE": "", "PYTHONPATH": "build_backend"}
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True, env=environment)

    wheels = list(tmp_path.glob("*.whl"))
    assert [wheel.name for wheel in wheels] == [f"elman-{elman.__version__}-py3-none-any.whl"]
    packages = tmp_path / "site" / "packages"
    with ZipFile(wheels[0]) as wheel:
        wheel.extractall(packages)
    installed = {str(path.relative_to(packages)) for path in packages.rglob("*")}
    assert {"elman/__init__.py", "elman/py.typed", "elman/_native.pyi"} <= installed
    assert not [name for name in installed if name.endswith((".so", ".pyd", ".cpp"))]
    said = python(
        "import elman; print(elman.__file__); from elman.engine.extension import why_not; print(why_not())",
        PYTHONPATH=str(packages),
    )
    assert said.startswith(str(packages))
    assert "\nnot built: no C++ compiler when elman was installed" in said
