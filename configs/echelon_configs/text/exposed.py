"""Refuses secrets that are written out, wherever they stand in a file, without repeating them."""

from echelon_configs.problems import Problems
from echelon_configs.text.leaks import has_userinfo, is_literal_secret, is_secret_under, leaking_comment_lines
from echelon_configs.text.marked import Marked, Place, step

_ADVICE = "keep it in the environment and write ${NAME_OF_THE_VARIABLE}; change the key if this file was ever shared"


def report_exposed(document: Marked, text: str, problems: Problems) -> None:
    """Adds a problem for each value, key and comment of the file that holds a literal secret."""
    before = {problem.line for problem in problems if problem.file == document.file}
    _walk(document, "", problems)
    reported = {problem.line for problem in problems if problem.file == document.file} - before
    for line in leaking_comment_lines(text):
        if line not in reported:
            problems.error(Place(document.file, line, "(comment)"), "a comment holds a literal key", _ADVICE)


def _walk(node: Marked, name: str, problems: Problems) -> None:
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            if is_literal_secret(key):
                problems.error(
                    node.key(key), "a key of this mapping is a literal secret", _ADVICE, path=step(node.path, key)
                )
            _walk(child, key, problems)
    elif isinstance(node.value, list):
        for child in node.value:
            _walk(child, name, problems)
    elif node.value is not None and not isinstance(node.value, bool):
        _scalar(node, name, str(node.value), problems)


def _scalar(node: Marked, name: str, text: str, problems: Problems) -> None:
    if has_userinfo(text):
        problems.error(node, "a password stands in a URL", "send it in a header, as ${NAME_OF_THE_VARIABLE}")
    elif is_secret_under(name, text):
        problems.error(node, "holds a literal key", _ADVICE)
