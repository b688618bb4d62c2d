"""RESULTS.md: one section per benchmark, each replaced by its next whole run, the others kept."""

import re
from pathlib import Path

PREAMBLE = """\
# Results

Written by the programs of this folder; each run replaces its own section. README.md in this folder
says what is measured and how.
"""


def replace_section(file: Path, title: str, body: str) -> None:
    sections = read_sections(file)
    sections[title] = body.strip()
    parts = [f"## {title}\n\n{sections[title]}\n" for title in sorted(sections, key=reading_order)]
    file.write_text("\n".join([PREAMBLE, *parts]))


def replace_between(file: Path, begin: str, end: str, body: str) -> None:
    """Puts `body` in the place of what stands between two marks of a report."""
    text = file.read_text()
    file.write_text(re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{body}{end}", text, flags=re.DOTALL))


def read_sections(file: Path) -> dict[str, str]:
    text = file.read_text() if file.exists() else ""
    _preamble, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    split = (section.partition("\n") for section in sections)
    return {title.strip(): body.strip() for title, _newline, body in split}


def reading_order(title: str) -> tuple[bool, float, str]:
    """Scale factors from small to large, then everything else."""
    scale = re.fullmatch(r"TPC-H, scale factor (\S+)", title)
    return (scale is None, float(scale[1]) if scale else 0.0, title)
