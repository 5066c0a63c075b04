"""How Sphinx builds the pages: `make docs`.

The root of the repository is the source folder, so that a link to a file beside docs/ leads to the same place here and on a
code host. Pages are plain Markdown; what Sphinx needs besides is made here, from their links.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

import menet_mm

ROOT = Path(__file__).resolve().parent.parent
HOME = 'docs/index'

project = 'menet_mm'
author = copyright = 'the menet_mm authors'
version = release = menet_mm.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.viewcode']

root_doc = HOME
include_patterns = [
    'README.md',
    'CHANGELOG.md',
    'docs/*.md',
    'docs/api/*.md',
    'benchmarks/results/README.md',
    'studies/results/README.md',
    'studies/data/voc_subset/README.md',
    'examples/downstream/README.md',
]
# Folders that hold none of these are not searched: they may be large, or lead elsewhere.
exclude_patterns = ['.*', 'build', 'configs', 'data', 'docs/_build', 'menet_mm', 'tests', 'work_dirs']

myst_heading_anchors = 4  # as GitHub names them

autodoc_member_order = 'bysource'
# Of a method without a docstring of ours the library's reference says more.
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
napoleon_use_ivar = True  # attributes in a docstring are no targets of links: some have the name of a type
viewcode_follow_imported_members = False
nitpicky = True
# References to our own names must lead somewhere; those to other libraries stay names.
nitpick_ignore_regex = [('py:.*', r'(?!menet_mm).*')]

html_theme = 'furo'
html_title = f'menet_mm {release}'
html_copy_source = False
html_show_sourcelink = False


def use_links(app: Sphinx, name: str, source: list[str]) -> None:
    """A link to a folder leads to its README, as on a code host; the lists of links on the home page are the side bar."""
    folder = (ROOT / name).parent
    source[0] = re.sub(
        r'\]\(([^):#]+)\)',
        lambda link: f']({link[1].rstrip("/")}/README.md)' if (folder / link[1]).is_dir() else link[0],
        source[0],
    )
    if name == HOME:
        for title, section in re.findall(r'^## (.+?)\n(.*?)(?=^## |\Z)', source[0], re.MULTILINE | re.DOTALL):
            links = re.findall(r'^- \[([^]]+)\]\((.+?)\.md\)', section, re.MULTILINE)
            pages = '\n'.join(f'{text} <{page}>' for text, page in links)
            source[0] += f'\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n'


def leave_out(app: Sphinx, kind: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Fields of a NamedTuple, of which nothing is said but their number."""
    return True if str(member.__doc__).startswith('Alias for field number') else None


def add_entrance(app: Sphinx, error: Exception | None) -> None:
    """The home page is docs/index.html; who opens the folder's index.html gets there."""
    if not error:
        entrance = f'<!doctype html><title>{project}</title><meta http-equiv="refresh" content="0; url={HOME}.html">\n'
        (Path(app.outdir) / 'index.html').write_text(entrance)


def setup(app: Sphinx) -> None:
    app.connect('source-read', use_links)
    app.connect('autodoc-skip-member', leave_out)
    app.connect('build-finished', add_entrance)
