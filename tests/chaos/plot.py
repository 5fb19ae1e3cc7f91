"""The run as a picture: plain SVG, without fonts or scripts of others."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, PANEL, GAP, TOP = 960, 70, 150, 110, 34, 46
COLORS = ("#1f5a99", "#b3541e", "#3b7d3b", "#7a4b8c")
# At most this many points a line: a second each in a short run, more in a long one.
POINTS = 600


def number(value):
    return float(value) if value != "" else None


def lines_of(rows):
    mib = lambda *keys: [sum(number(row[key]) for key in keys) / 1024 if row[keys[0]] != "" else None for row in rows]
    column = lambda key: [number(row[key]) for row in rows]
    return (
        ("resident memory, MiB", (("all", mib("anonymous_kib", "file_kib", "shared_kib")), ("anonymous", mib("anonymous_kib")),
                                  ("files", mib("file_kib")), ("rings", mib("shared_kib"))), max),
        ("descriptors, threads", (("descriptors", column("descriptors")), ("threads", column("threads"))), max),
        ("frames a second", (("steady camera", column("steady_fps")), ("unplugged camera", column("main_fps"))), lambda values: sum(values) / len(values)),
        ("sources opened again, since the service's start", (("unplugged camera", column("reopened")),), max),
        ("sums of the run", (("starts", column("starts")), ("attaches of the two", column("attaches")),
                             ("torn or stale", [row["torn"] + row["stale"] for row in rows])), max),
    )


def nice(top):
    """A round number that is not below `top`."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if factor * step >= top:
                return factor * step
        step *= 10


def draw(rows, events, path, title):
    last = max(row["second"] for row in rows) or 1
    minutes = last > 300
    x = lambda second: LEFT + (WIDTH - LEFT - RIGHT) * second / last
    panels = lines_of(rows)
    height = TOP + len(panels) * (PANEL + GAP) + 80
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{LEFT}" y="22" font-size="15">Chaos: {escape(title)}</text>']
    stride = -(-len(rows) // POINTS)
    for place, (name, lines, join) in enumerate(panels):
        top = TOP + place * (PANEL + GAP)
        most = nice(max((value for _, values in lines for value in values if value is not None), default=1) or 1)
        y = lambda value: top + PANEL * (1 - value / most)
        out.append(f'<text x="{LEFT}" y="{top - 6}">{name}</text>')
        for part in range(6):
            value = most * part / 5
            out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                       f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
        for order, (label, values) in enumerate(lines):
            steps, pen = [], "M"
            for begin in range(0, len(values), stride):
                some = [value for value in values[begin : begin + stride] if value is not None]
                if some:
                    steps.append(f"{pen}{x(rows[begin]['second']):.1f} {y(join(some)):.1f}")
                pen = "L" if some else "M"
            color = COLORS[order]
            out.append(f'<path d="{"".join(steps)}" fill="none" stroke="{color}" stroke-width="1.2"/>'
                       f'<text x="{WIDTH - RIGHT + 8}" y="{top + 12 + 16 * order}" fill="{color}">{label}</text>')
    bottom = TOP + len(panels) * (PANEL + GAP)
    out.append(f'<text x="{LEFT}" y="{bottom - 6}">faults (long strokes: the service ends and is started again)</text>')
    for second, names, _ in events:
        ends = names in ("bus", "crash", "hang")
        out.append(f'<path d="M{x(second):.1f} {bottom}v{22 if ends else 12}" stroke="{COLORS[1] if ends else "#555"}"><title>{second} s: {escape(names)}</title></path>')
    step = nice(last / 60 / 10) * 60 if minutes else nice(last / 10)
    for mark in range(0, int(last) + 1, int(step)):
        out.append(f'<path d="M{x(mark):.1f} {bottom + 24}v5" stroke="#333"/>'
                   f'<text x="{x(mark):.1f}" y="{bottom + 42}" text-anchor="middle">{mark // 60 if minutes else mark}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 62}" text-anchor="middle">time, {"minutes" if minutes else "seconds"}</text></svg>')
    path.write_text("\n".join(out) + "\n")
