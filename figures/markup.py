"""HTML in which nothing that a file says can be markup: text is escaped when it enters a tag."""

import base64
import hashlib
import html
from pathlib import Path

from utils import printable

VOID = 'meta', 'img'  # tags without content
FOLDER = Path(__file__).parent


class Html(str):
    """Text that is HTML already: what tag() made."""


def escaped(value: object) -> Html:
    """Return value as text within HTML, or within an attribute."""
    return value if isinstance(value, Html) else Html(html.escape(printable(value)))


def tag(name: str, /, *parts: object, **attributes: object) -> Html:
    """Return an element; parts: elements and texts; class_ and data_value are class, data-value."""
    pairs = ((key.rstrip('_').replace('_', '-'), value) for key, value in attributes.items())
    start = name + ''.join(f' {key}="{escaped(value)}"' for key, value in pairs if value != '')
    content = ''.join(map(escaped, parts))
    return Html(f'<{start}>' if name in VOID else f'<{start}>{content}</{name}>')


def table(header: tuple[str, ...], lines: list[tuple], **attributes: object) -> Html:
    """Return a table that scrolls inside itself; a cell (text, number) is sorted by its number."""
    head = tag('tr', *(tag('th', name, scope='col') for name in header))
    rows = (tag('tr', *map(_cell, line)) for line in lines)
    body = tag('thead', head), tag('tbody', *rows)
    # The focus lets the keyboard scroll it.
    return tag('div', tag('table', *body, **attributes), class_='scroll', tabindex=0)


def _cell(cell):
    text, number = cell if isinstance(cell, tuple) else (cell, None)
    return tag('td', text, data_value='' if number is None else number)


def picture(content: bytes, kind: str, alt: str) -> Html:
    """Return a picture that we drew, within the page."""
    source = f'data:image/{kind};base64,{base64.b64encode(content).decode()}'
    return tag('img', src=source, alt=alt, loading='lazy')


def document(title: str, *parts: Html) -> str:
    """Return a whole page with figures/page.css and page.js within it.

    Its policy has the browser run and load nothing else, whatever a file should smuggle in.
    """
    style, script = ((FOLDER / name).read_text() for name in ('page.css', 'page.js'))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
    policy += f'script-src {_hash(script)}'
    head = (
        tag('meta', charset='utf-8'),
        tag('meta', http_equiv='Content-Security-Policy', content=policy),
        tag('meta', name='viewport', content='width=device-width, initial-scale=1'),
        tag('meta', name='color-scheme', content='light dark'),
        tag('title', title),
        tag('style', Html(style)),
    )
    body = tag('body', tag('main', *parts), tag('script', Html(script)))
    return f'<!doctype html>\n{tag("html", tag("head", *head), body, lang="en")}\n'


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
