"""Fits the polynomials of csrc/functions.h.

    python benchmarks/fit_functions.py        (needs mpmath)

Each polynomial has the least largest *relative* error of the function's result (Remez exchange, 60 digits).
Coefficients are rounded to the number format one by one, lowest degree first, and the remaining ones are fitted
again around them, so that rounding costs almost nothing. Prints C++ hexadecimal constants and the error that is
left, in units of the relative rounding error (2^-24 or 2^-53).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpmath import mp, mpf

mp.dps = 60

Real = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Fit:
    """`function(x) = sum of c_k x^k` for x in [low, high], where an error counts `weight(x)` times."""

    name: str
    bits: int
    degree: int
    low: mpf
    high: mpf
    function: Real
    weight: Real


def rounded(x: mpf, bits: int) -> mpf:
    """The number of so many significant bits nearest to x."""
    if x == 0:
        return x
    exponent = mp.floor(mp.log(abs(x), 2)) + 1 - bits
    return mp.nint(x / mpf(2) ** exponent) * mpf(2) ** exponent


def horner(coefficients: list[mpf], x: mpf) -> mpf:
    """The polynomial's value; lowest degree first."""
    value = mpf(0)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def remez(fit: Fit, fixed: list[mpf]) -> list[mpf]:
    """The best polynomial whose first coefficients are given."""
    first, free = len(fixed), fit.degree + 1 - len(fixed)
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    grid = [middle - half * mp.cos(mp.pi * k / 800) for k in range(801)]
    points = [middle - half * mp.cos(mp.pi * (k + mpf(1) / 2) / (free + 1)) for k in range(free + 1)]

    # What is left for the free part. Without the sign of x^first errors would not alternate across 0.
    def target(x: mpf) -> mpf:
        return abs(fit.weight(x)) * (fit.function(x) - horner(fixed, x)) * (mp.sign(x) ** first)

    def size(x: mpf) -> mpf:
        return abs(fit.weight(x) * x**first)

    known = [(size(x), target(x)) for x in grid]
    for _ in range(12):
        rows = [[size(x) * x**k for k in range(free)] + [(-1) ** i] for i, x in enumerate(points)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([target(x) for x in points]))
        rest = [solution[k] for k in range(free)]
        errors = [t - w * horner(rest, x) for x, (w, t) in zip(grid, known, strict=True)]
        extremes = alternating(errors)
        if len(extremes) < free + 1:
            break
        points = [grid[k] for k in largest(extremes, errors, free + 1)]
        if max(abs(e) for e in errors) <= abs(solution[free]) * mpf("1.001"):
            break
    return fixed + rest


def alternating(errors: list[mpf]) -> list[int]:
    """The place of the largest error within each run of one sign."""
    places: list[int] = []
    for k, e in enumerate(errors):
        if places and mp.sign(errors[places[-1]]) == mp.sign(e):
            if abs(e) > abs(errors[places[-1]]):
                places[-1] = k
        elif e != 0:
            places.append(k)
    return places


def largest(places: list[int], errors: list[mpf], count: int) -> list[int]:
    """The `count` places with the largest errors whose signs still alternate."""
    places = list(places)
    while len(places) > count:
        sizes = [abs(errors[k]) for k in places]
        least = sizes.index(min(sizes))
        if least in (0, len(places) - 1):
            places.pop(least)
        elif len(places) == count + 1:
            places.pop(0 if sizes[0] < sizes[-1] else -1)
        else:  # with a neighbour, or two of one sign would follow each other
            first = least - 1 if sizes[least - 1] < sizes[least + 1] else least
            del places[first : first + 2]
    return places


def constants(fit: Fit) -> tuple[list[mpf], mpf]:
    """Coefficients in the number format, and the largest weighted error they leave."""
    fixed: list[mpf] = []
    for _ in range(fit.degree + 1):
        fixed.append(rounded(remez(fit, fixed)[len(fixed)], fit.bits))
    grid = [fit.low + (fit.high - fit.low) * k / 2000 for k in range(2001)]
    return fixed, max(abs(fit.weight(x) * (fit.function(x) - horner(fixed, x))) for x in grid)


def hexadecimal(x: mpf, bits: int) -> str:
    """A C++ hexadecimal constant."""
    return float(x).hex().replace("0000000p", "p") + ("f" if bits == 24 else "")


def divided(series: Callable[[int], mpf], whole: Real) -> Real:
    """`whole`, or near 0, where it cancels, its power series."""
    return lambda x: mp.fsum(series(k) * x**k for k in range(30)) if abs(x) < mpf("0.02") else whole(x)


HALF = mp.log(2) / 2 * mpf("1.0001")  # the rounding of x / log(2) may leave a little more than half


def exponential(name: str, bits: int, degree: int, factor: mpf) -> Fit:
    """The factor times exp(r), |r| <= log(2) / 2."""
    return Fit(name, bits, degree, -HALF, HALF, lambda r: factor * mp.exp(r), lambda r: mp.exp(-r) / factor)


def exponential_less_one(bits: int, degree: int) -> Fit:
    """P in (exp(2 r) - 1) / 2 = r + r^2 P(r), |r| <= log(2) / 4."""
    function = divided(
        lambda k: mpf(2) ** (k + 1) / mp.factorial(k + 2),
        lambda r: (mp.expm1(2 * r) / 2 - r) / r**2,
    )
    return Fit("expm1", bits, degree, -HALF / 2, HALF / 2, function, lambda r: r and 2 * r**2 / mp.expm1(2 * r))


def logarithm(bits: int, degree: int) -> Fit:
    """P in log(1 + f) = f - f^2 / 2 + f^3 P(f), 0.75 <= 1 + f < 1.5."""
    function = divided(
        lambda k: mpf(-1) ** k / (k + 3),
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3,
    )
    return Fit("log", bits, degree, mpf(-1) / 4, mpf(1) / 2, function, lambda f: f and f**3 / mp.log1p(f))


def logarithm_of_ratio(bits: int, degree: int) -> Fit:
    """P in log((1 + s) / (1 - s)) = 2 s + s z P(z), z = s^2, |s| <= 1 / 5; 1 + f has s = f / (2 + f)."""
    function = divided(
        lambda k: mpf(2) / (2 * k + 3),
        lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z,
    )
    return Fit("log", bits, degree, mpf(0), mpf(1) / 25, function, lambda z: z / 2)


def fits() -> list[Fit]:
    """All of them, as functions.h lists them."""
    single = [exponential("exp", 24, 6, mpf(1)), exponential("sigmoid", 24, 6, mpf("1.5"))]
    single += [exponential_less_one(24, 4), logarithm(24, 7)]
    double = [exponential("exp", 53, 11, mpf(1)), exponential_less_one(53, 10), logarithm_of_ratio(53, 7)]
    return single + double


def main() -> None:
    """Prints everything."""
    for bits in (24, 53):
        log2 = mp.log(2)
        high = rounded(log2, bits - (10 if bits == 24 else 12))  # n * high is exact
        for name, value in (("1 / log 2", 1 / log2), ("log 2, high", high), ("log 2, low", log2 - high)):
            print(f"{name:12} {hexadecimal(rounded(value, bits), bits)}")
        for name, value in (("2 / log 2", 2 / log2), ("log 2 / 2", log2 / 2), ("log 2", log2)):
            print(f"{name:12} {hexadecimal(rounded(value, bits), bits)}")
    for fit in fits():
        coefficients, error = constants(fit)
        size = mp.nstr(error * 2**fit.bits, 3)
        print(f"\n{fit.name}, {fit.bits} bits, degree {fit.degree}: error {size} x 2^-{fit.bits}")
        print("  " + ", ".join(hexadecimal(c, fit.bits) for c in coefficients))


if __name__ == "__main__":
    main()
