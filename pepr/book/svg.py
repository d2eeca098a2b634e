"""Lighter SVG: what matplotlib repeats at every marker is said once, and nothing looks different."""

from __future__ import annotations

import json
import re

COORDINATES = re.compile(r'\b(?:d|x|y|points|transform)="[^"]*"')
TOO_FINE = re.compile(r"(\d\.\d\d)\d+")
MARKERS = re.compile(r'<g((?: clip-path="[^"]*")?)>\s*((?:<use [^>]*/>\s*)+)</g>')
STYLE = re.compile(r' style="([^"]*)"')
IDENTIFIER = re.compile(r' id="([^"]*)"')
REFERENCE = re.compile(r'(?<=[("]#)([^)"]+)(?=[)"])')
METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
GROUP = re.compile(r"(<g\b[^>]*>|</g>)")
BETWEEN_TAGS = re.compile(r">\s*\n\s*<")
MIME_TYPE = "image/svg+xml"


def lighter(drawing: str) -> str:
    """A drawing of matplotlib with coordinates in hundredths of a point, and styles and names said once.

    What is written in it stays as it is.
    """
    drawing = METADATA.sub("", drawing)
    drawing = COORDINATES.sub(lambda found: TOO_FINE.sub(r"\1", found[0].replace("\n", "")), drawing)
    drawing = _short_names(drawing.replace("xlink:href=", "href="))
    return BETWEEN_TAGS.sub(">\n<", _without_bare_groups(MARKERS.sub(_share_style, drawing)))


def _short_names(drawing: str) -> str:
    """Names only for what is referred to, and these of a letter and a number."""
    names = {name: f"i{place}" for place, name in enumerate(dict.fromkeys(REFERENCE.findall(drawing)))}
    named = IDENTIFIER.sub(lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", drawing)
    return REFERENCE.sub(lambda found: names[found[1]], named)


def _share_style(found: re.Match[str]) -> str:
    styles = STYLE.findall(found[2])
    if len(styles) != found[2].count("<use") or len(set(styles)) != 1:
        return found[0]
    return f'<g{found[1]} style="{styles[0]}">{STYLE.sub("", found[2])}</g>'


def _without_bare_groups(drawing: str) -> str:
    """Groups that say nothing of what is in them go; their contents stay."""
    kept, says_something = [], []
    for part in GROUP.split(drawing):
        if part == "</g>":
            kept.append(part if says_something.pop() else "")
        elif GROUP.fullmatch(part) and not part.endswith("/>"):
            says_something.append(part != "<g>")
            kept.append(part if part != "<g>" else "")
        else:
            kept.append(part)
    return "".join(kept)


def lighter_notebook(notebook: str) -> str:
    """An executed notebook (its JSON text) whose drawings are `lighter`."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            drawing = output.get("data", {}).get(MIME_TYPE)
            if drawing:
                output["data"][MIME_TYPE] = lighter("".join(drawing))
    return json.dumps(content, indent=1, ensure_ascii=False)
