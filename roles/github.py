"""Roads to GitHub: its proxies, which take a whole URL after their own, and mirrors that replace its host."""

GITHUB = "https://github.com"
ANY = "/*"
"""End of a mirror that replaces https://github.com/: OWNER/NAME stands there. Such mirrors serve git alone."""


def for_git_alone(mirror: str) -> bool:
    """Whether a mirror serves repositories, but no files of releases."""
    return mirror.endswith(ANY)


def prefix(mirror: str) -> str:
    """What stands at `mirror` instead of https://github.com/."""
    if mirror == GITHUB:
        return f"{GITHUB}/"
    return mirror.removesuffix("*") if for_git_alone(mirror) else f"{mirror}/{GITHUB}/"


def over(mirror: str, url: str) -> str:
    """Where `mirror` serves what is at `url`, which begins with https://github.com/."""
    return prefix(mirror) + url.removeprefix(f"{GITHUB}/")


def of_files(mirrors: tuple[str, ...]) -> tuple[str, ...]:
    """Those that serve files of releases; GitHub itself if none does."""
    return tuple(mirror for mirror in mirrors if not for_git_alone(mirror)) or (GITHUB,)
