"""The one exception for what a user can mend, shown without a traceback by the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot work: says the invariant, what was found, and the fix.

    Args:
        what: the invariant that does not hold, in the user's own words.
        where: the file and line, the configuration key, or the argument it was found in.
        found: what was received.
        fix: what to do about it.

    Example:
        >>> str(UserError("no column 'txt'", where="a.csv", found="text, label", fix="did you mean 'text'?"))
        "a.csv: no column 'txt'; found: text, label; did you mean 'text'?"
    """

    def __init__(self, what: str, *, where: object = None, found: object = None, fix: str | None = None) -> None:
        self.what, self.where, self.found, self.fix = what, where, found, fix
        parts = [what if where is None else f"{where}: {what}"]
        parts += [] if found is None else [f"found: {found}"]
        parts += [] if fix is None else [fix]
        super().__init__("; ".join(parts))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a question, or all of them when none is near.

    Example:
        >>> did_you_mean("labl", ["text", "label"])
        "did you mean 'label'?"
    """
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names) or 'none'}"


def visible(text: str) -> str:
    r"""The text with what would steer a terminal, or cannot be encoded, written out.

    Example:
        >>> visible("a \x1b[31m[bold]")
        'a \\x1b[31m[bold]'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
