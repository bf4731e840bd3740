"""Every line of Python in the pages and every example in a docstring is run, and what it gives is checked."""

import ast
import contextlib
import doctest
import importlib
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from backends import SAID

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MODULES = sorted(SOURCE.glob("elman/**/*.py"))

FENCE = re.compile(
    r"(?P<before>[^\n]*\n\n?)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^ *```$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*$")
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)([^)\s]+)\)")
OUTPUT = "# -> "
# Pages say what runs where the engine is built.
BUILT = "native (the native engine runs the step program of any cell)"
CHECKER = doctest.OutputChecker()


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is written in, its first line in the page, and whether it is run."""

    language: str
    code: str
    line: int
    run: bool


def blocks_of(page):
    text = page.read_text("utf-8")
    return [
        Block(
            found["language"].strip(),
            textwrap.dedent(found["code"]),
            text.count("\n", 0, found.start("code")) + 1,
            not NOT_RUN.search(found["before"] or ""),
        )
        for found in FENCE.finditer(text)
    ]


def expected_outputs(code):
    """What stands behind `# ->`, by line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    return {line: text.removeprefix(OUTPUT) for line, text in comments.items() if text.startswith(OUTPUT)}


def run_statement(statement, namespace, filename):
    """Runs one statement; returns what it printed, or the value of an expression that printed nothing."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), filename, "eval"), namespace)
        else:
            value = None
            exec(compile(ast.Module([statement], []), filename, "exec"), namespace)
    return printed.getvalue() or f"{value!r}\n"


def run_code(code, namespace, filename, line):
    """Runs a block and checks the outputs that stand at the end of a statement or on the lines below it."""
    outputs = expected_outputs(code)
    statements = ast.parse(code).body
    ends = {statement.end_lineno for statement in statements}
    for statement in statements:
        end = statement.end_lineno
        wanted = [outputs.pop(end)] if end in outputs else []
        while (end := end + 1) in outputs and end not in ends:
            wanted.append(outputs.pop(end))
        where = f"{filename}:{line + statement.lineno - 1}"
        got = run_statement(ast.increment_lineno(statement, line - 1), namespace, filename)
        if wanted:
            wanted = "\n".join(wanted).replace(BUILT, SAID) + "\n"
            assert CHECKER.check_output(wanted, got, doctest.ELLIPSIS), f"{where}: gives\n{got}, not\n{wanted}"
    assert not outputs, f"{filename}: outputs that belong to no statement: {outputs}"


def run_examples(name, code, namespace, filename, line):
    """Runs a block of `>>>` lines, which sees and leaves names as the other blocks do."""
    test = doctest.DocTestParser().get_doctest(code, namespace, name, filename, line)
    report = io.StringIO()
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.write, clear_globs=False)
    assert result.failed == 0, report.getvalue()
    namespace.update(test.globs)


def differences(page, drawn):
    """How far the pictures that stand in a page are from those that its code drew."""
    for link in PICTURE.findall(page.read_text("utf-8")):
        assert (page.parent / link).is_file(), f"{page.name} shows {link}, which is not there"
        if (drawn / link).is_file():
            committed, fresh = imread(page.parent / link), imread(drawn / link)
            assert committed.shape == fresh.shape, f"{link} has another size than the page draws"
            yield link, float(np.abs(committed - fresh).mean())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs_and_gives_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, namespace = str(page.relative_to(ROOT)), {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language != "python" or not block.run:
            continue
        if re.search(r"^>>> ", block.code, re.M):
            run_examples(name, block.code, namespace, name, block.line)
        else:
            run_code(block.code, namespace, name, block.line)
    # Another version of matplotlib may smooth a line differently; another drawing differs by far more.
    for link, difference in differences(page, tmp_path):
        assert difference < 0.005, f"{link} is not what {name} draws (mean difference {difference:.4f})"


def test_few_blocks_are_not_run_and_none_hides_behind_another_name():
    blocks = [block for page in PAGES for block in blocks_of(page)]
    fences = sum(len(re.findall(r"^ *```", page.read_text("utf-8"), re.M)) for page in PAGES)
    assert fences == 2 * len(blocks)
    assert {b.language for b in blocks} <= {"python", "console", "bash", "text", "toml", "json", "csv", "math", ""}
    assert sum(b.language == "python" and not b.run for b in blocks) <= 5


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own remark
@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_in_docstrings_give_what_they_say(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = path.relative_to(SOURCE).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    written = len(re.findall(r"^\s*>>> ", path.read_text("utf-8"), re.M))
    assert sum(len(test.examples) for test in found) == written, "an example stands where nothing finds it"
    for test in found:
        report = io.StringIO()
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.write)
        assert result.failed == 0, report.getvalue()
