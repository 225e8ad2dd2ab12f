"""How `make docs` builds the pages."""

import json
import re
from typing import Any

from myst_parser.parsers.sphinx_ import MystParser

project = "sam_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["media/README.md"]
html_theme = "furo"
html_title = "sam_jax"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_show_copyright = False

myst_heading_anchors = 3  # links to headings, as GitHub has them
default_role = "literal"  # docstrings mark code with single backticks
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "replace"}  # flax's, of structs
autodoc_preserve_defaults = True
napoleon_use_ivar = True
python_maximum_signature_line_length = 88


class NotebookParser(MystParser):
    """A notebook as a page: its text as it is, its code without results, which are not stored."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: Any) -> None:
        blocks = []
        for cell in json.loads(inputstring)["cells"]:
            source = "".join(cell["source"])
            blocks.append(
                source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
            )
        super().parse("\n\n".join(blocks), document)


def mark_examples(_app: Any, _what: str, _name: str, _of: Any, _opt: Any, lines: list[str]) -> None:
    """Docstrings set examples apart by indentation alone; reStructuredText wants two colons."""
    marked, section = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        section = bool(re.match(r"\w+:$", line)) or (section and (not line or line[0] == " "))
        if line.startswith("    ") and not before and not section and marked:
            text = next((i for i in reversed(range(len(marked))) if marked[i]), 0)
            if not marked[text].startswith(" "):
                marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def setup(app: Any) -> None:
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("autodoc-process-docstring", mark_examples, priority=400)  # before napoleon
