"""Shapes as the text of SVG. Whatever is not `Svg` already is escaped on its way in, so nobody's name is markup."""

import html
import itertools
import math
from collections.abc import Iterable, Sequence

Point = tuple[float, float]

_TENTHS = 10


class Svg(str):
    """Text that is markup as it stands; templates take it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def element(name: str, *children: str, **attributes: str | float | None) -> Svg:
    """One element: children that are no elements are escaped, `stroke_width=2` becomes `stroke-width="2"`.

    Example:
        >>> element("text", "a < b", x=1.25, class_="label")
        '<text x="1.2" class="label">a &lt; b</text>'
    """
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    said = "".join(f' {key}="{_attribute(value)}"' for key, value in pairs)
    inner = join(children)
    return Svg(f"<{name}{said}>{inner}</{name}>" if inner else f"<{name}{said}/>")


def join(parts: Iterable[str]) -> Svg:
    return Svg("".join(part if isinstance(part, Svg) else html.escape(part) for part in parts))


def text(said: str, x: float, y: float, class_: str = "label", anchor: str = "start") -> Svg:
    """A line of text whose baseline is at `y`; `anchor` is where of it `x` is: `"start"`, `"middle"`, `"end"`."""
    return element("text", said, x=x, y=y, class_=class_, text_anchor=None if anchor == "start" else anchor)


def rule(start: Point, end: Point, class_: str) -> Svg:
    return element("path", d=path([start, end]), class_=class_)


def line(points: Sequence[Point], class_: str) -> Svg:
    """A line through all points; one point alone is a dot."""
    return element("path", d=path(points) + ("h0" if len(points) == 1 else ""), class_=class_)


def band(lower: Sequence[Point], upper: Sequence[Point], class_: str) -> Svg:
    """The area between two lines that run from left to right."""
    return element("path", d=path([*lower, *reversed(upper)]) + "z", class_=class_)


def box(left: float, top: float, right: float, bottom: float, class_: str) -> Svg:
    size = {"width": max(0.0, right - left), "height": max(0.0, bottom - top)}
    return element("rect", x=left, y=top, **size, class_=class_)


def path(points: Sequence[Point]) -> str:
    """The outline through all points, in tenths of a unit and relative to each other, because that is shortest.

    Example:
        >>> path([(1, 2), (3, 2), (3.5, 7)])
        'M1 2h2l0.5 5'
    """
    tenths = [(round(x * _TENTHS), round(y * _TENTHS)) for x, y in points]
    if not tenths:
        return ""
    moves = (_move(x - x0, y - y0) for (x0, y0), (x, y) in itertools.pairwise(tenths))
    return f"M{_short(tenths[0][0])} {_short(tenths[0][1])}" + "".join(moves)


def steps(points: Sequence[Point]) -> list[Point]:
    """The same points with a corner before each change: a value holds until the next."""
    corners = ([(x1, y0), (x1, y1)] for (_, y0), (x1, y1) in itertools.pairwise(points))
    return [*points[:1], *itertools.chain.from_iterable(corners)]


def mark(shape: str, x: float, y: float, title: str, class_: str, radius: float = 5.0) -> Svg:
    """One of `SHAPES` around `x`, `y`, half as wide as its radius; its title is shown where the pointer rests."""
    hint = (element("title", title),) if title else ()
    if shape in ("circle", "ring"):
        return element("circle", *hint, cx=x, cy=y, r=radius, class_=f"{class_} {shape}")
    return element("path", *hint, d=_outline(shape, x, y, radius), class_=f"{class_} {shape}")


_DIAGONAL = math.sqrt(0.5)
_CORNERS: dict[str, list[list[Point]]] = {
    "square": [[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]],
    "diamond": [[(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)]],
    "up": [[(0, -1.1), (1.1, 0.9), (-1.1, 0.9)]],
    "down": [[(0, 1.1), (1.1, -0.9), (-1.1, -0.9)]],
    "cross": [[(-0.9, -0.9), (0.9, 0.9)], [(-0.9, 0.9), (0.9, -0.9)]],
    "plus": [[(-1.1, 0), (1.1, 0)], [(0, -1.1), (0, 1.1)]],
    "star": [
        [(-1.1, 0), (1.1, 0)],
        [(-_DIAGONAL, -_DIAGONAL), (_DIAGONAL, _DIAGONAL)],
        [(-_DIAGONAL, _DIAGONAL), (_DIAGONAL, -_DIAGONAL)],
    ],
    "dash": [[(-1.0, 0), (1.0, 0)]],
}

SHAPES = ("circle", "ring", *_CORNERS)


def _outline(shape: str, x: float, y: float, radius: float) -> str:
    outline = ""
    for corners in _CORNERS[shape]:
        outline += path([(x + dx * radius, y + dy * radius) for dx, dy in corners]) + "z" * (len(corners) > 2)
    return outline


def _move(dx: int, dy: int) -> str:
    if not dy:
        return f"h{_short(dx)}"
    if not dx:
        return f"v{_short(dy)}"
    return f"l{_short(dx)} {_short(dy)}"


def _short(tenths: int) -> str:
    whole, rest = divmod(abs(tenths), _TENTHS)
    return f"{'-' if tenths < 0 else ''}{whole}{f'.{rest}' if rest else ''}"


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(value)
    return _short(round(value * _TENTHS)) if math.isfinite(value) else "0"
