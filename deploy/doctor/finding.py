"""The result of one check: a sentence and a cure."""

from deploy.shapes import Finding


def good(subject: str, says: str) -> Finding:
    return Finding("good", subject, says)


def warning(subject: str, says: str, cure: str) -> Finding:
    """It works, but not well, or not for long."""
    return Finding("warning", subject, says, cure)


def bad(subject: str, says: str, cure: str) -> Finding:
    return Finding("bad", subject, says, cure)
