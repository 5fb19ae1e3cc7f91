"""Curves as SVG, from the tables that a training run writes."""

from __future__ import annotations

from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 56, 36, 28, 120
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#555555")


def read_table(path: Path) -> list[dict[str, float]]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if line]
    return [dict(zip(lines[0], map(float, line), strict=True)) for line in lines[1:] if len(line) == len(lines[0])]


def svg(title: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """One plot; `series` are lists of (x, y)."""
    points = [point for line in series.values() for point in line]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    margin = 0.05 * (high - low) or 0.01
    low, high = low - margin, high + margin
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    px = lambda x: LEFT + (x - low_x) / ((high_x - low_x) or 1) * (right - LEFT)  # noqa: E731
    py = lambda y: bottom - (y - low) / (high - low) * (bottom - TOP)  # noqa: E731
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"',
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{title}</text>',
    ]
    for tick in range(5):
        y = low + (high - low) * tick / 4
        out.append(
            f'<path d="M{LEFT} {py(y):.1f}H{right}" stroke="#ddd"/><text x="4" y="{py(y) + 4:.1f}">{y:.4f}</text>'
        )
    for tick in range(5):
        x = low_x + (high_x - low_x) * tick / 4
        out.append(f'<text x="{px(x):.1f}" y="{bottom + 16}" text-anchor="middle">{x:.0f}</text>')
    for number, (name, line) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        out.append(f'<text x="{right + 8}" y="{TOP + 14 * (number + 1)}" fill="{color}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


def draw(folder: Path) -> None:
    """FOLDER/loss.svg and FOLDER/validation.svg from the tables of the run."""
    for table, x, skip in (
        ("loss", "step", {"step", "seconds", "learning_rate", "pictures_a_second"}),
        ("validation", "step", {"step", "seconds"}),
    ):
        rows = read_table(folder / f"{table}.tsv") if (folder / f"{table}.tsv").exists() else []
        if len(rows) > 1:
            series = {name: [(row[x], row[name]) for row in rows] for name in rows[0] if name not in skip}
            (folder / f"{table}.svg").write_text(svg(f"{folder.name}: {table}", series))
