"""The files that docs/deploy.md shows, and what it says beside them."""

import re

import render

PAGE = (render.ROOT / "docs/deploy.md").read_text()


def section(title):
    """A chapter's text, up to the next of any level."""
    found = re.search(rf"(?ms)^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PAGE)
    assert found, f"docs/deploy.md has no chapter {title}"
    return found[1]


def file(title, name):
    """The block of a chapter whose first line is that comment."""
    blocks = re.findall(r"(?ms)^```\w+\n(.*?)^```$", section(title))
    (text,) = [block for block in blocks if block.startswith(f"# {name}\n")]
    return text


def settings(title):
    """The variables that a chapter names for the server."""
    return dict(re.findall(r"`(SCALESOCKET_\w+)=([^`]+)`", section(title)))


def table(title):
    """The rows of a chapter's table, by the first column; without the backticks around cells."""
    rows = [line.strip("|").split(" | ") for line in section(title).splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`").strip() for cell in row] for row in rows]
    return {row[0]: row[1:] for row in cells}


def replaced(text, changes):
    """With each of these words of the page replaced; they must be there."""
    for old, new in changes.items():
        assert old in text, f"docs/deploy.md says no more {old}"
        text = text.replace(old, str(new))
    return text
