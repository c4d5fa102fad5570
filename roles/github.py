"""Ways to reach GitHub: proxies, which take a whole URL after their own, and mirrors that replace its host."""

GITHUB = "https://github.com"
ANY = "/*"
"""End of a mirror that replaces https://github.com/; it stands for OWNER/NAME. Such mirrors serve git only."""


def for_git_alone(mirror: str) -> bool:
    """Whether a mirror serves repositories, but not files of releases."""
    return mirror.endswith(ANY)


def prefix(mirror: str) -> str:
    """The URL at `mirror` that replaces https://github.com/."""
    if mirror == GITHUB:
        return f"{GITHUB}/"
    return mirror.removesuffix("*") if for_git_alone(mirror) else f"{mirror}/{GITHUB}/"


def over(mirror: str, url: str) -> str:
    """The URL at `mirror` for `url`, which begins with https://github.com/."""
    return prefix(mirror) + url.removeprefix(f"{GITHUB}/")


def of_files(mirrors: tuple[str, ...]) -> tuple[str, ...]:
    """The mirrors that serve files of releases; GitHub itself if none does."""
    return tuple(mirror for mirror in mirrors if not for_git_alone(mirror)) or (GITHUB,)
