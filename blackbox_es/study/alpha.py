"""The best alpha for what a guide is worth, and the error that it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blackbox_es import estimate_gradient, theory
from blackbox_es.plotting.axes import COLORS, label_ends, new_axes
from blackbox_es.study.base import Cell, Row, Study, column, crossed, table

Array = npt.NDArray[Any]

_N, _PAIRS = 100, 20
_ALPHAS = tuple(np.linspace(0.0, 1.0, 11).round(1).tolist())
# r and k, one or two of each regime
_POINTS = {
    f"r{r}-k{k}": (r, k)
    for r, k in ((0.05, 10), (0.1, 1), (0.2, 1), (0.35, 10), (0.5, 10), (0.8, 30))
}


class Alpha(Study):
    """`theory.optimal_alpha`, and mean squared errors measured at some places beside `theory`'s.

    A seed is so many estimates of the gradient of a linear function of 100 variables by 20 pairs.
    """

    name: ClassVar[str] = "alpha"
    summary: ClassVar[str] = "the best alpha by what a guide is worth: closed form and measured"

    def cells(self, n_seeds: int) -> list[Cell]:
        return crossed(_POINTS, range(1, n_seeds + 1))

    def run(self, cell: Cell) -> list[Row]:
        r, k = _POINTS[cell.method]
        n_estimates = 3 if self.quick else 200
        rng = np.random.default_rng(cell.seed)
        rows = []
        for alpha in _ALPHAS:
            beta = _beta(alpha, r, k)
            errors = [_error(r, k, alpha, beta, rng) for _ in range(n_estimates)]
            rows.append({"r": r, "k": k, "alpha": alpha, "error": float(np.mean(errors))})
        return rows

    def figure(self, rows: Sequence[Row]) -> Any:
        left, right = new_axes(2)
        r, share = np.linspace(0.0, 1.0, 201), np.geomspace(0.008, 0.9, 300)
        best = [[theory.optimal_alpha(x, n=_N, k=y * _N, n_pairs=_PAIRS) for x in r] for y in share]
        image = left.pcolormesh(r, share, best, cmap="cividis", vmin=0, vmax=1, rasterized=True)
        left.figure.colorbar(image, ax=left, label="best alpha")
        q = 2 * (_PAIRS + 1)
        left.plot(share, share, color="white", linewidth=1.2)
        left.plot((share * _N + q) / (_N + q), share, color="white", linewidth=1.2)
        for method, (x, k) in _POINTS.items():
            mean, _ = _measured(rows, method)
            alpha = _ALPHAS[int(np.argmin(mean))]
            left.scatter(x, k / _N, s=110, c=[alpha], cmap="cividis", vmin=0, vmax=1,
                         edgecolors="white", linewidths=1.5, zorder=3)  # fmt: skip
        left.set(yscale="log", xlabel="r, squared cosine of guides and gradient",
                 ylabel="k / n, guides over variables", xlim=(0, 1), ylim=(0.008, 0.9))  # fmt: skip
        left.set_yticks([0.01, 0.03, 0.1, 0.3, 0.9], ["0.01", "0.03", "0.1", "0.3", "0.9"])
        left.minorticks_off()
        left.grid(visible=False)
        left.set_title(
            f"What a guide is worth decides on alpha: the map is\nthe closed form, dots are "
            f"measured (n = {_N}, {_PAIRS} pairs)", loc="left", fontsize=10,
        )  # fmt: skip
        fine = np.linspace(1.0, 0.0, 101)
        lines = []
        for i, (method, (x, k)) in enumerate(_POINTS.items()):
            law = [_law(a, x, k) for a in fine]
            color = COLORS[i % len(COLORS)]
            lines += right.plot(fine, law, color=color, linewidth=1.6, label=f"r = {x}, k = {k}")
            mean, error = _measured(rows, method)
            right.errorbar(_ALPHAS, mean, 2 * error, fmt="o", markersize=4, color=color)
            alpha = theory.optimal_alpha(x, n=_N, k=k, n_pairs=_PAIRS)
            right.plot(alpha, _law(alpha, x, k), marker="*", markersize=13, color=color,
                       markeredgecolor="white", zorder=4)  # fmt: skip
        right.set(
            xlabel="alpha, from the whole space to the guides alone",
            ylabel="mean squared error over squared length",
            xlim=(1.03, -0.03),
        )
        right.set_title(
            "Lines are the closed form, dots are measured\n(two errors), stars the best alpha",
            loc="left", fontsize=10,
        )  # fmt: skip
        label_ends(right, lines)
        return left.figure

    def report(self, rows: Sequence[Row]) -> str:
        lines = []
        for method, (r, k) in _POINTS.items():
            mean, error = _measured(rows, method)
            law = np.array([_law(a, r, k) for a in _ALPHAS])
            off = np.abs(mean - law)
            best = theory.optimal_alpha(r, n=_N, k=k, n_pairs=_PAIRS)
            lines.append(
                (f"r = {r}, k = {k}", f"{best:.3f}", f"{_ALPHAS[int(np.argmin(mean))]}",
                 f"{off.max():.4f}", f"{error.max():.4f}")
            )  # fmt: skip
        head = ("", "best alpha", "measured", "largest error off", "standard error")
        return table(head, lines)


def _beta(alpha: float, r: float, k: int) -> float:
    return theory.optimal_beta(alpha, r, n=_N, k=k, n_pairs=_PAIRS)


def _law(alpha: float, r: float, k: int) -> float:
    beta = _beta(alpha, r, k)
    return theory.mean_squared_error(alpha, beta, r, n=_N, k=k, n_pairs=_PAIRS)


def _measured(rows: Sequence[Row], method: str) -> tuple[Array, Array]:
    """Errors by alpha, means over seeds, and the standard errors of these."""
    errors = np.array([column(rows, "error", method=method, alpha=alpha) for alpha in _ALPHAS])
    spread = errors.std(axis=1, ddof=1) if errors.shape[1] > 1 else np.zeros(len(errors))
    return errors.mean(axis=1), spread / np.sqrt(errors.shape[1])


def _error(r: float, k: int, alpha: float, beta: float, rng: np.random.Generator) -> float:
    """The squared error of one estimate, with a guide whose squared cosine is r."""
    guides = np.linalg.qr(rng.standard_normal((_N, k)))[0]
    inside = guides @ _unit(rng.standard_normal(k))
    other = rng.standard_normal(_N)
    outside = _unit(other - guides @ (guides.T @ other))
    gradient = np.sqrt(r) * inside + np.sqrt(1.0 - r) * outside
    estimate = estimate_gradient(
        lambda x: x @ gradient, np.zeros(_N), guides, alpha=alpha, beta=beta, n_pairs=_PAIRS,
        vectorized=True, random_state=int(rng.integers(2**31)),
    )  # fmt: skip
    return float(((estimate - gradient) ** 2).sum())


def _unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v))
