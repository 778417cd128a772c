"""Plots as SVG, written by hand: bars of ratios and lines over an axis. No library is needed."""
import html
import os

import stack

WIDTH, ROW, LEFT, TOP = 760, 34, 230, 50
COLOURS = ["#1f6f8b", "#c05621", "#6b7280", "#7c3aed"]
STYLE = "font-family='sans-serif' font-size='13'"


def text(x, y, words, anchor="start", extra=""):
    return f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' {STYLE} {extra}>{html.escape(words)}</text>"


def save(file, width, height, body):
    os.makedirs(stack.RESULTS, exist_ok=True)
    path = os.path.join(stack.RESULTS, file)
    with open(path, "w") as out:
        out.write(f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
                  f"viewBox='0 0 {width} {height}'><rect width='100%' height='100%' fill='white'/>")
        out.write("".join(body) + "</svg>\n")
    stack.say(f"written: {path}")


def bars(file, title, rows):
    """`rows` are (name, {min, median, max}) of advantages, greater is better, on a logarithmic axis."""
    import math
    rows = [row for row in rows if row[1]]
    if not rows:
        return
    top = max(2.0, max(spread["max"] for _, spread in rows) * 1.2)
    low = min(1.0, min(spread["min"] for _, spread in rows) / 1.2)
    at = lambda value: LEFT + (WIDTH - LEFT - 90) * math.log(value / low) / math.log(top / low)
    height = TOP + ROW * len(rows) + 40
    body = [text(20, 26, title, extra="font-weight='bold'")]
    for tick in [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]:
        if low <= tick <= top:
            x = at(tick)
            body.append(f"<line x1='{x:.0f}' x2='{x:.0f}' y1='{TOP}' y2='{height - 34}' stroke='{'#000' if tick == 1 else '#ddd'}'/>")
            body.append(text(x, height - 16, f"{tick:g}x", "middle", "fill='#555'"))
    for index, (name, spread) in enumerate(rows):
        y = TOP + ROW * index
        left, right = sorted((at(1), at(spread["median"])))
        body.append(text(LEFT - 10, y + 20, name, "end"))
        body.append(f"<rect x='{left:.0f}' y='{y + 6}' width='{right - left:.0f}' height='20' fill='{COLOURS[0]}'/>")
        body.append(f"<line x1='{at(spread['min']):.0f}' x2='{at(spread['max']):.0f}' y1='{y + 16}' y2='{y + 16}' stroke='#111' stroke-width='2'/>")
        body.append(text(max(right, at(spread["max"])) + 6, y + 20, f"{spread['median']:.3g}x"))
    save(file, WIDTH, height, body)


def lines(file, title, axis, unit, names, series):
    """`series` maps a side to its values, one for each name on the axis; None where there is none."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return
    width, height, left, bottom = 640, 380, 80, 330
    top = max(known) * 1.1 or 1
    x = lambda index: left + (width - left - 40) * index / max(1, len(names) - 1)
    y = lambda value: bottom - (bottom - 60) * value / top
    body = [text(20, 26, title, extra="font-weight='bold'"), text(20, 46, unit, extra="fill='#555'"), text(width / 2, 370, axis, "middle", "fill='#555'")]
    for step in range(5):
        value = top * step / 4
        body.append(f"<line x1='{left}' x2='{width - 40}' y1='{y(value):.0f}' y2='{y(value):.0f}' stroke='#ddd'/>")
        body.append(text(left - 8, y(value) + 4, f"{value:.3g}", "end", "fill='#555'"))
    for index, name in enumerate(names):
        body.append(text(x(index), bottom + 18, str(name), "middle", "fill='#555'"))
    for number, (side, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x(i), y(v)) for i, v in enumerate(values) if v is not None]
        body.append("<polyline fill='none' stroke-width='2' stroke='%s' points='%s'/>" % (colour, " ".join(f"{a:.1f},{b:.1f}" for a, b in points)))
        body += [f"<circle cx='{a:.1f}' cy='{b:.1f}' r='3.5' fill='{colour}'/>" for a, b in points]
        body.append(text(width - 40, 26 + 16 * number, side, "end", f"fill='{colour}'"))
    save(file, width, height, body)
