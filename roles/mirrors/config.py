"""Settings of the mirrors role: an ordered list of mirrors for each kind of traffic."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from roles.github import ANY, GITHUB, prefix
from roles.proxy import is_proxy
from roles.settings import Name, Settings, Url, raise_all

Urls = tuple[Url, ...]
AUTO = "auto"


def _is_auto_or_proxy(value: str) -> str:
    return value if value == AUTO else is_proxy(value)


class Mirrors(Settings):
    """Ordered candidates; the first that answers is used. Commit ids and hashes decide about content."""

    github: Urls = Field(
        default=(GITHUB,),
        min_length=1,
        description="GitHub proxies, asked as PREFIX/https://github.com/OWNER/NAME; "
        "https://github.com itself means direct. One that replaces GitHub's host, and so serves git alone, ends in /*: "
        "https://mirror.example/*.",
    )
    huggingface: Urls = Field(
        default=("https://huggingface.co",), min_length=1, description="Hugging Face endpoints (HF_ENDPOINT)."
    )
    modelscope: Urls = Field(
        default=("https://modelscope.cn",), min_length=1, description="ModelScope endpoints, tried in order."
    )
    civitai: Urls = Field(
        default=("https://civitai.com",), min_length=1, description="Civitai's hosts, tried in order."
    )
    hosts: dict[Name, Url] = Field(
        default={},
        description="Where hosts of the fleet give their models away, by name, for sources host:NAME/PATH; "
        "those with the cache role are known without it.",
    )
    tokens_to: Urls = Field(
        default=(),
        description="Mirrors that may be sent your Hugging Face, Civitai or ModelScope token; "
        "without it a token goes to its issuer alone.",
    )
    pypi: Urls = Field(
        default=("https://pypi.org/simple",), min_length=1, description="Python package indexes (simple API)."
    )
    torch: Urls = Field(
        default=("https://download.pytorch.org/whl",),
        description="Roots of PyTorch wheel indexes; the build (cu121, cpu, ...) is appended.",
    )
    apt: Urls = Field(
        default=(),
        description="Distribution mirrors, as the URL above debian/ or ubuntu/; empty leaves the host's sources alone.",
    )
    apt_proxy: Url | None = Field(default=None, description="HTTP proxy for apt, e.g. apt-cacher-ng.")
    provider_proxy: Annotated[str, AfterValidator(_is_auto_or_proxy)] = Field(
        default=AUTO,
        description="Proxy of a rented container's provider, used for GitHub and Hugging Face alone and before the "
        "https:// mirrors of these lists, if it answers and the list names the origin. "
        '"auto": the one that the host\'s /etc/network_turbo names (AutoDL); "http://HOST:PORT": this one; "": none. '
        "Unused where http_proxy is set.",
    )
    python: Urls = Field(
        default=("https://github.com/astral-sh/python-build-standalone/releases/download",),
        description="Where uv finds managed Pythons (UV_PYTHON_INSTALL_MIRROR).",
    )
    probe_seconds: float = Field(
        default=5,
        gt=0,
        le=60,
        description="How long a mirror may take to answer before the next is tried, in s.",
    )

    parallel: int = Field(default=4, ge=1, le=16, description="How many models a host fetches at a time.")
    limit_mb: float = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Bandwidth that a host's model downloads may take, in MB/s; 0 is no limit.",
    )

    @field_validator("github")
    @classmethod
    def _star_stands_at_the_end(cls, github: Urls) -> Urls:
        wrong = [url for url in github if "*" in url.removesuffix(ANY)]
        raise_all([f"{url!r}: * stands for OWNER/NAME at the end alone" for url in wrong], github)
        return github

    def github_prefix(self, mirror: str) -> str | None:
        """What git must write instead of https://github.com/ to go over `mirror`; None for direct."""
        return None if mirror == GITHUB else prefix(mirror)
