"""Figures of the report as inline SVG: text stays text, colours follow the page's CSS variables.

Matplotlib is imported inside the functions, because a job that only prints its help or finds its
run finished must not pay for it. Figures are drawn narrow, so that they stay legible at the width
of a phone; the page shows two side by side where there is room.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.report.words import shortened

FloatArray = NDArray[np.float64]

INK, MUTED, GRID, SURFACE = "#010101", "#020202", "#030303", "#040404"
MODEL_COLOURS = ("#050505", "#060606", "#070707", "#080808", "#090909", "#0a0a0a")
"""Stand-ins that _themed replaces by CSS variables: the page decides what they look like."""

MARKERS = ("o", "s", "D", "^", "v", "P")
"""Shapes distinguish models where colours cannot."""

MAX_POINTS = 200
"""More points than this are thinned before they are drawn."""

MAX_DENSITY = 4000
"""The density is estimated from at most so many quantiles of the scores."""

ROW = 1.2
"""Distance of two models in the figure of distributions; one density is 0.55 high."""

LABEL = 44
"""Longer names are cut."""

WIDTH = 5.2
"""Inches; at 72 points an inch, text of 10.5 points stays above 9 pixels on a phone."""


def distributions(scores: Sequence[tuple[str, FloatArray]]) -> str:
    """Draw density, box and points of each model's scores, one row a model.

    scores: (model name, finite scores (P,)); an empty array leaves its row empty.
    """

    def draw(axes: Any) -> None:
        for row, (name, values) in enumerate(scores):
            colour = MODEL_COLOURS[row % len(MODEL_COLOURS)]
            base = ROW * (len(scores) - 1 - row)
            _name_row(axes, base + 0.62, name)
            if len(values):
                _density(axes, values, base, colour)
                _box(axes, values, base - 0.1, colour)
                _points(axes, values, base - 0.27, colour)
        axes.set_ylim(-0.45, ROW * len(scores) - 0.3)
        _without_scale(axes, "semantic consistency score of a prompt")

    label = "Distribution of the prompts' scores: " + "; ".join(
        f"{name}: median {np.median(values):.2f}" for name, values in scores if len(values)
    )
    return _svg("distributions", 0.75 + len(scores), label, draw)


def paired_differences(
    values: Sequence[float],
    interval: tuple[float, float, float] | None,
    names: tuple[str, str],
    colours: tuple[int, int],
    key: str,
) -> str:
    """Draw the sorted differences of one comparison, a minus b, with their mean.

    values: ascending, possibly thinned to evenly spaced ranks. interval: (mean, low, high).
    colours: index of each model. key: makes the ids of this figure unlike those of the others.
    """

    def draw(axes: Any) -> None:
        y = np.asarray(values, dtype=np.float64)[::-1]
        share = (np.arange(len(y)) + 0.5) / max(len(y), 1) * 100
        colour_a, colour_b = (MODEL_COLOURS[index % len(MODEL_COLOURS)] for index in colours)
        ink = [colour_a if value > 0 else colour_b if value < 0 else MUTED for value in y]
        axes.vlines(share, 0, y, colors=ink, linewidth=max(0.8, min(6.0, 220 / max(len(y), 1))))
        axes.axhline(0, color=INK, linewidth=0.9)
        if interval is not None:
            mean, low, high = interval
            axes.axhspan(low, high, color=MUTED, alpha=0.22, linewidth=0)
            axes.axhline(mean, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set_xlim(0, 100)
        axes.set_xlabel("prompts, sorted by their difference (%)")
        axes.set_ylabel("difference of score")
        axes.grid(axis="y", color=GRID, linewidth=0.6)

    above = sum(value > 0 for value in values)
    label = f"Sorted differences {names[0]} minus {names[1]}: {above} of {len(values)} above zero"
    return _svg(f"paired-{key}", 3.1, label, draw)


def curve(
    key: str, x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, level: float
) -> str:
    """Draw y against x, with a broken line at the level where nothing has been learned.

    Longer curves are drawn as means of neighbours, at most MAX_POINTS of them.
    """

    def draw(axes: Any) -> None:
        parts = np.array_split(np.arange(len(x)), min(len(x), MAX_POINTS)) if len(x) else []
        places = [float(np.mean(np.asarray(x, float)[part])) for part in parts]
        means = [float(np.mean(np.asarray(y, float)[part])) for part in parts]
        axes.axhline(level, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.plot(places, means, color=MODEL_COLOURS[0], linewidth=1.6)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(axis="y", color=GRID, linewidth=0.6)

    last = f", {y[-1]:.3g} at the end" if len(y) else ""
    return _svg(key, 3.0, f"{y_label} by {x_label}{last}", draw)


def intervals(
    key: str,
    rows: Sequence[tuple[str, float, float | None, float | None]],
    x_label: str,
    line: float,
) -> str:
    """Draw values with their intervals, one row each, from the top, and a line at no effect.

    rows: (name, value, low, high); the ends may be None.
    """

    def draw(axes: Any) -> None:
        for row, (name, value, low, high) in enumerate(rows):
            y, colour = len(rows) - 1 - row, MODEL_COLOURS[row % len(MODEL_COLOURS)]
            _name_row(axes, y + 0.2, name)
            if low is not None and high is not None:
                axes.hlines(y, low, high, colors=colour, linewidth=2.2)
            axes.plot([value], [y], marker=MARKERS[row % len(MARKERS)], color=colour, markersize=6)
        axes.axvline(line, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_ylim(-0.5, len(rows) - 0.2)
        _without_scale(axes, x_label)

    label = f"{x_label}: " + "; ".join(f"{name}: {value:.3f}" for name, value, _, _ in rows)
    return _svg(key, 0.75 + 0.55 * len(rows), label, draw)


def convergence_curves(
    curves: Sequence[tuple[str, int, Sequence[int], Sequence[float], Sequence[float | None]]],
) -> str:
    """Draw the mean score against the number of seeds, with a band of one standard error.

    curves: (model name, colour index, numbers of images, means, their standard errors).
    """

    from matplotlib.ticker import MaxNLocator

    def draw(axes: Any) -> None:
        for _, index, n_images, means, errors in curves:
            colour = MODEL_COLOURS[index % len(MODEL_COLOURS)]
            x, y = np.asarray(n_images), np.asarray(means)
            if all(error is not None for error in errors):
                se = np.asarray(errors, dtype=np.float64)
                axes.fill_between(x, y - se, y + se, color=colour, alpha=0.2, linewidth=0)
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.6)
        axes.set_xlabel("seeds per prompt")
        axes.set_ylabel("mean score over prompts")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=GRID, linewidth=0.6)

    label = "Mean score against the number of seeds: " + "; ".join(
        f"{name}: {means[0]:.2f} at {n_images[0]}, {means[-1]:.2f} at {n_images[-1]}"
        for name, _, n_images, means, _ in curves
    )
    return _svg("convergence", 3.1, label, draw)


def _density(axes: Any, values: FloatArray, base: float, colour: str) -> None:
    from scipy.stats import gaussian_kde

    sample = _thin(values, MAX_DENSITY)
    if len(sample) < 3 or np.ptp(sample) < 1e-6:
        return
    kernel = gaussian_kde(sample)
    reach = 3 * float(np.sqrt(kernel.covariance[0, 0]))
    x = np.linspace(max(sample.min() - reach, 0), min(sample.max() + reach, 100), 160)
    height = kernel(x)
    height = 0.55 * height / height.max()
    axes.fill_between(x, base + 0.04, base + 0.04 + height, color=colour, alpha=0.35, linewidth=0)
    axes.plot(x, base + 0.04 + height, color=colour, linewidth=1.3)


def _box(axes: Any, values: FloatArray, centre: float, colour: str) -> None:
    """Quartiles and median; whiskers at the last score within 1.5 box lengths (Tukey)."""
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (q3 - q1)
    low = values[values >= q1 - reach].min()
    high = values[values <= q3 + reach].max()
    axes.hlines([centre, centre], [low, q3], [q1, high], colors=colour, linewidth=1.3)
    axes.barh(centre, q3 - q1, 0.16, left=q1, facecolor=SURFACE, edgecolor=colour, linewidth=1.3)
    axes.vlines(median, centre - 0.08, centre + 0.08, colors=INK, linewidth=2.2)


def _points(axes: Any, values: FloatArray, centre: float, colour: str) -> None:
    sample = _thin(values, MAX_POINTS)
    jitter = 0.05 * np.sin(np.arange(len(sample)) * 2.4)  # regular, so that pages repeat
    axes.plot(sample, centre + jitter, ".", color=colour, markersize=3.5, alpha=0.6)


def _thin(values: FloatArray, limit: int) -> FloatArray:
    """At most `limit` values, evenly spaced by rank."""
    if len(values) <= limit:
        return np.sort(values)
    ranks = np.linspace(0, len(values) - 1, limit).round().astype(int)
    return np.asarray(np.sort(values)[ranks])


def _name_row(axes: Any, y: float, name: str) -> None:
    """Write a name at the start of a row, at this height of the data."""
    label = {"parse_math": False, "color": INK, "fontweight": "bold"}
    axes.text(0.0, y, shortened(name, LABEL), transform=axes.get_yaxis_transform(), **label)


def _without_scale(axes: Any, x_label: str) -> None:
    """Leave out the vertical axis, which only counts rows."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(x_label)
    axes.grid(axis="x", color=GRID, linewidth=0.6)


def _svg(key: str, height: float, label: str, draw: Callable[[Any], None]) -> str:
    """Draw on fresh axes and return an SVG element with `label` as its accessible name."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "font.size": 10.5,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
    }
    out = io.StringIO()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        figure.patch.set_visible(False)
        figure.axes[0].patch.set_visible(False)
        plain = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", metadata=plain)
    return _themed(out.getvalue(), key, label)


def _themed(svg: str, key: str, label: str) -> str:
    """Make matplotlib's file fit a page: unique ids, CSS colours, the page's font, a title."""
    body = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', body)
    assert view_box is not None
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = body.replace("url(#", f"url(#{key}-").replace('xlink:href="#', f'href="#{key}-')
    body = re.sub(r"font-family: [^;\"]*;", "", body)
    body = re.sub(r"font: ([\w ]*?)([\d.]+px)[^;\"]*", r"font-size: \2", body)  # matplotlib < 3.11
    names = {INK: "ink", MUTED: "muted", GRID: "line", SURFACE: "surface"}
    names |= {colour: f"model-{index}" for index, colour in enumerate(MODEL_COLOURS)}
    for colour, name in names.items():
        body = body.replace(colour, f"var(--{name})")
    name = escape(" ".join(label.split()), quote=True)
    head = f'<svg {view_box[0]} role="img" aria-label="{name}"><title>{name}</title>'
    return head + body
