"""Fills the templates of pages: HTML files that need nothing from outside, hold no script and escape whatever a stranger wrote.

``page.html.j2`` beside this file is their frame, with a Content-Security-Policy that forbids scripts and addresses.
"""

from __future__ import annotations

import base64

import jinja2

_THOUSAND = 1000


def page_environment(package: str) -> jinja2.Environment:
    """The templates of a package, which may extend the frame and take what it holds.

    Filters: ``number`` (thousands apart), ``words`` (a code as words), ``size`` (bytes), ``span`` (seconds).

    Args:
        package: The package that holds them, ``visionyard.dataset.pages``.
    """
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package, ""), jinja2.PackageLoader(__package__, "")])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    environment.filters["words"] = lambda code: code.replace("_", " ").capitalize()
    environment.filters["size"] = size
    environment.filters["span"] = span
    return environment


def data_uri(jpeg: bytes) -> str:
    """A JPEG file as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def size(value: int) -> str:
    """Bytes for people: ``12.3 MB``."""
    number, unit = float(value), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):  # noqa: B007 - the last one is what counts
        if number < _THOUSAND:
            break
        number /= _THOUSAND
    return f"{number:.3g} {unit}" if unit != "bytes" else f"{value} bytes"


def span(seconds: float) -> str:
    """A time for people: ``4.2 s``, ``3 min 5 s``, ``2 h 7 min``."""
    if seconds < 10:  # noqa: PLR2004 - from there on tenths say nothing
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
