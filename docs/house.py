"""Draws raypipe's rooms, and which imports which, to docs/house.svg: `make house`.

The floors are the layers that import-linter checks (pyproject.toml); the arrows are the imports in
the code, also those inside functions, except those that others imply.
"""

import ast
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SVG = ROOT / "docs" / "house.svg"
SHARED = {"__main__": "jobs", "console": "console, errors", "errors": "console, errors"}
"""Modules that share a box with another."""

COLUMN, SIDE, MARGIN, HEIGHT, GAP, RAIL, ROOF = 95, 112, 26, 54, 28, 11, 96
STONE = "#48515e"
PLACES = {
    "jobs": (0, 1, 0.5, STONE, "one recipe a job, which __main__ loads by name"),
    "miniature": (0.908, 1, 0.95, STONE, ""),
    "job": (0, 0.092, 0.046, STONE, ""),
    "training": (0.12, 0.37, 0.25, "#b3551d", "a loop, on Ray or without"),
    "metrics": (0.47, 0.77, 0.62, "#9a3b74", "one class a metric"),
    "models": (0.30, 0.77, 0.42, "#b0303a", "diffusion, LoRA, encoders, faces, rewards"),
    "engine": (0, 0.26, 0.046, "#7a5c00", "steps, on Ray or without"),
    "weights": (0.30, 0.55, 0.42, "#5b4a9e", "found, fetched, identified"),
    "inputs": (0.59, 0.87, 0.81, "#1763a6", "prompts, photos, pictures, other runs"),
    "storage": (0, 0.78, 0.39, "#2f6b5e", "files by URI, run directories, the schema"),
    "report": (0.82, 1, 0.915, "#2c7a2c", "page parts"),
    "config": (0, 0.46, 0.25, STONE, "strict settings, shared sections, the zoo"),
    "console, errors": (0, 0.22, 0.10, STONE, ""),
    "core": (0.25, 1, 0.62, STONE, "pure: numpy, scipy, torch"),
}
"""Of rooms that are no studies: left, right, where arrows enter, by width; colour; what it is."""

PAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>The rooms of raypipe, and which imports which</title>
<style>
text {{ font: 600 13px Helvetica, Arial, sans-serif; text-anchor: middle; fill: #1d232b }}
text:last-child {{ font-size: 12px; font-weight: 400; fill: #5a636f }}
path {{ fill: none; stroke-width: 1.5 }}
g > rect, polygon {{ fill-opacity: 0.1 }}
</style>
<rect width="100%" height="100%" rx="10" fill="#fcfbf8"/>
<g fill="#48515e"><polygon points="{roof}" stroke="#48515e"/>
<text x="50%" y="58">raypipe</text>
<text x="50%" y="76">An arrow is an import; those that others imply are left out.</text></g>
{drawn}
</svg>
"""


def room(module: str) -> str:
    """`raypipe.studies.align.page` -> `studies.align`; "" for what is in no room."""
    _, *rest = module.split(".")
    depth = 2 if rest[:1] == ["studies"] else 1
    return SHARED.get(rest[0], ".".join(rest[:depth])) if len(rest) >= depth else ""


def read() -> tuple[Counter[str], set[tuple[str, str]]]:
    """The lines of every room, and every pair of rooms of which the first imports the second."""
    lines: Counter[str] = Counter()
    pairs = set()
    for path in sorted((ROOT / "raypipe").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        here = room(".".join(parts).removesuffix(".__init__"))
        lines[here] += len(path.read_text().splitlines())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                above = parts[: -node.level] if node.level else ()
                module = [*above, node.module] if node.module else above
                names = [".".join([*module, alias.name]) for alias in node.names]
            pairs |= {(here, room(name)) for name in names if name.startswith("raypipe.")}
    del lines[""]
    return lines, {(a, b) for a, b in pairs if a != b and {a, b} <= lines.keys()}


def arrows(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs that others do not imply."""
    reach = set(pairs)
    while more := {(a, d) for a, b in reach for c, d in pairs if b == c} - reach:
        reach |= more
    return pairs - {(a, d) for a, b in pairs for c, d in reach if b == c}


def floor_of(name: str) -> int:
    """The number of a room's floor, from the top, by import-linter's layers."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(rule["layers"] for rule in settings["contracts"] if rule["id"] == "floors")
    found = dict.fromkeys(tuple(SHARED.get(n, n) for n in layer.split(" | ")) for layer in layers)
    return next(i for i, names in enumerate(found) if {name, name.split(".")[0]} & {*names})


def draw() -> str:
    """The picture: studies in columns, ordered by where their arrows lead; the rest by PLACES."""
    lines, pairs = read()
    shown = sorted(arrows(pairs))
    aims = {a: [PLACES[d][2] for c, d in shown if c == a] for a in lines if a not in PLACES}
    studies = sorted(aims, key=lambda a: (round(sum(aims[a]) / max(len(aims[a]), 1), 3), a))
    width = 2 * (MARGIN + SIDE) + COLUMN * len(studies)
    at = {n: [MARGIN + x * (width - 2 * MARGIN) for x in PLACES[n][:3]] for n in PLACES}
    for i, name in enumerate(studies):
        left = MARGIN + SIDE + COLUMN * i + 3
        at[name] = [left, left + COLUMN - 6, left + COLUMN / 2 - 3]
    common = {(a, b): (max(at[a][0], at[b][0]), min(at[a][1], at[b][1])) for a, b in shown}
    straight = {p: sum(x) / 2 for p, x in common.items() if x[0] < x[1] and p[0] not in studies}
    bent = [pair for pair in shown if pair not in straight]
    rails = sorted({b for _, b in bent}, key=lambda b: (-abs(at[b][2] - width / 2), b))
    top = {name: ROOF + floor_of(name) * (HEIGHT + GAP) for name in lines}
    ground = top[studies[0]] + HEIGHT + 20
    top = {n: y + RAIL * len(rails) * (y > ground) for n, y in top.items()}
    drawn = [box(name, lines[name], *at[name][:2], top[name]) for name in sorted(lines)]
    for a, b in shown:
        x, rail, lane = straight.get((a, b)), 0, straight.get((a, b), at[b][2])
        if x is None:
            mine = sorted((d for c, d in bent if c == a), key=lambda d: at[d][2])
            x = (at[a][0] + at[a][1]) / 2 + 14 * (mine.index(b) - (len(mine) - 1) / 2)
            rail = ground + RAIL * rails.index(b)
        drawn.append(arrow(a, b, (x, top[a] + HEIGHT), rail, (lane, top[b])))
    roof = f"{MARGIN},{ROOF - 8} {width / 2},14 {width - MARGIN},{ROOF - 8}"
    height = max(top.values()) + HEIGHT + MARGIN
    return PAGE.format(width=width, height=height, roof=roof, drawn="\n".join(drawn))


def arrow(a: str, b: str, start: tuple[float, float], rail: float, end: tuple[float, float]) -> str:
    """An import: down to the rail, along it, and down; straight where one room is above another."""
    (x, y), (lane, bottom), ink = start, end, PLACES[b][3] if b in PLACES else STONE
    r, t = min(7, abs(lane - x) / 2), max(min(7, (lane - x) / 2), -7)
    bend = f"V{rail - r:.1f}q0 {r:.1f} {t:.1f} {r:.1f}H{lane - t:.1f}q{t:.1f} 0 {t:.1f} {r:.1f}"
    path = f"M{x:.1f} {y}{bend if r else ''}V{bottom - 1}l-4 -6m4 6l4 -6"
    return f'<path data-from="{a}" data-to="{b}" stroke="{ink}" d="{path}"/>'


def box(name: str, lines: int, left: float, right: float, y: float) -> str:
    """A room: its name, what it is, how long it is."""
    ink, about = PLACES[name][3:] if name in PLACES else (STONE, "")
    rows = name.removeprefix("studies.").replace("_", "_ |").split("|")
    rows.append(f"{about} · {lines:,} lines".removeprefix(" · "))
    x, y0 = f"{(left + right) / 2:.1f}", y + HEIGHT / 2 + 12.5 - 8 * len(rows)
    text = "".join(f'<text x="{x}" y="{y0 + 16 * i}">{row}</text>' for i, row in enumerate(rows))
    size = f'x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{HEIGHT}" rx="5"'
    return f'<g data-room="{name}" fill="{ink}"><rect {size} stroke="{ink}"/>{text}</g>'


if __name__ == "__main__":
    SVG.write_text(draw())
    print(SVG)
