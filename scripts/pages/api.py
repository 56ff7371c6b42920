"""docs/api.md: the public names of the package, from their signatures and docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

import diffpref
from scripts.pages.docstring import markdown

HEAD = """\
# Python

`import diffpref` is cheap: every name below loads its module on first use. What is not on this
page may change between versions. Shapes in signatures are
[jaxtyping](https://docs.kidger.site/jaxtyping/)'s: `b` prompts, `k` images of each, `n = b k`
rows, `c h w` channels, height and width.

This page is written by `python -m scripts.write_pages` from signatures and docstrings; a test
keeps it current.
"""

ROOT = Path(diffpref.__file__).parent.parent

GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "diffpref": (
        "The package",
        tuple(name for name in diffpref.__all__ if name not in {"METHODS", "__version__"}),
    ),
    "diffpref.rewards.scorer": ("What `load_scorer` returns", ("LoadedScorer",)),
    "diffpref.rewards.text.scorer": ("What `load_text_scorer` returns", ("LoadedTextScorer",)),
    "diffpref.users": ("People", ("UserProfile", "Using")),
    "diffpref.evaluate.personalizer": ("Images for one person", ("Personalizer",)),
    "diffpref.papers": ("For plug-ins", ("Method", "Paper")),
}
"""Module -> its heading, and the names of it that are public."""


def page() -> str:
    """Return the page."""
    told = [HEAD]
    for module, (title, names) in GROUPS.items():
        told.append(f"## {title}\n")
        if module == "diffpref":
            told.append(
                "`diffpref.METHODS` maps every method's name to its `Method`\n"
                "([methods](methods.md)); `diffpref.__version__` is the version.\n"
            )
        told += [_entry(module, name) for name in names]
    return "\n".join(told)


def _entry(module: str, name: str) -> str:
    node = _defined(module, name)
    head = f"### `{module}.{name}`\n"
    if isinstance(node, ast.FunctionDef):
        return "\n".join([head, _signature(node), "", _doc(node), ""])
    told = [head, *_fields(node), _doc(node), ""]
    for method in _methods(node):
        told += [_signature(method), "", _doc(method), ""]
    return "\n".join(told)


def _defined(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """Return the definition of a name, read from the file that has it; nothing is imported."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in {e.asname or e.name for e in node.names}:
            assert node.module is not None
            return _defined(node.module, name)
    raise LookupError(f"{module} neither defines nor imports {name}")


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield the public methods and properties that say what they do."""
    for each in node.body:
        if not isinstance(each, ast.FunctionDef) or not ast.get_docstring(each):
            continue
        if not each.name.startswith("_") or each.name == "__call__":
            yield each


def _fields(node: ast.ClassDef) -> list[str]:
    """Return a dataclass's fields as code."""
    if [ast.unparse(base) for base in node.bases] == ["Section"]:
        return ["Fields: [configuration](configuration.md).", ""]
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    public = [_code(each) for each in fields if not ast.unparse(each.target).startswith("_")]
    return ["```python", *public, "```", ""] if public else []


def _signature(node: ast.FunctionDef) -> str:
    kinds = {ast.unparse(each) for each in node.decorator_list}
    if "property" in kinds:
        returned = "" if node.returns is None else f": {_code(node.returns)}"
        return f"```python\n{node.name}{returned}\n```"
    returned = "" if node.returns is None else f" -> {_code(node.returns)}"
    arguments = _arguments(node.args)
    line = f"{node.name}({', '.join(arguments)}){returned}"
    if len(line) > 100:
        inner = "".join(f"    {each},\n" for each in arguments)
        line = f"{node.name}(\n{inner}){returned}"
    return f"```python\n{line}\n```"


def _arguments(found: ast.arguments) -> list[str]:
    """Return the arguments as written, without self, in the order and with the marks of a call."""
    plain = [*found.posonlyargs, *found.args]
    defaults = [None] * (len(plain) - len(found.defaults)) + list(found.defaults)
    told = [
        _argument(each, value)
        for each, value in zip(plain, defaults, strict=True)
        if each.arg not in {"self", "cls"}
    ]
    if found.kwonlyargs:
        pairs = zip(found.kwonlyargs, found.kw_defaults, strict=True)
        told += ["*", *[_argument(each, value) for each, value in pairs]]
    return told


def _argument(found: ast.arg, default: ast.expr | None) -> str:
    typed = "" if found.annotation is None else f": {_code(found.annotation)}"
    return f"{found.arg}{typed}" + ("" if default is None else f" = {_code(default)}")


def _code(node: ast.AST) -> str:
    """Return the code of a node with the quotes of this house."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _doc(node: ast.FunctionDef | ast.ClassDef) -> str:
    return markdown(ast.get_docstring(node) or "")
