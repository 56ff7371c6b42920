"""A docstring of this house as Markdown: sections become headings in bold, entries lists."""

import re
from inspect import cleandoc

_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes|Yields|Units|Equation|Departs.*):$")
_ENTRY = re.compile(r"^(\*{0,2}[A-Za-z_][\w, ]*): ")
_LISTED = {"Args", "Attributes", "Raises"}


def markdown(text: str) -> str:
    """Return the docstring; `name: meaning` paragraphs under a listed section become a list."""
    out: list[str] = []
    section = ""
    for line in cleandoc(text).splitlines():
        if found := _SECTION.match(line):
            section = found.group(1)
            out += [f"**{section}**", ""]
        elif line and not line.startswith(" "):
            section = ""
            out.append(_listed(line) if out and _is_entry(line) else line)
        else:
            out.append(_inside(line[4:], section))
    return "\n".join(out)


def _inside(line: str, section: str) -> str:
    if section in _LISTED and _ENTRY.match(line):
        return _listed(line)
    if section == "Equation" and line:
        return f"    {line}"
    return f"  {line.strip()}" if section in _LISTED and line.strip() else line


def _is_entry(line: str) -> bool:
    """Tell `beta: strength`, a field of a dataclass, from a sentence with a colon."""
    found = _ENTRY.match(line)
    return found is not None and found.group(1).islower() and " " not in found.group(1)


def _listed(line: str) -> str:
    name, _, meaning = line.partition(": ")
    return f"- `{name}`: {meaning}"
