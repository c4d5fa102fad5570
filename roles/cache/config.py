"""Settings of the cache role."""

from ipaddress import IPv4Network

from pydantic import Field

from roles.settings import Settings

KINDS = ("huggingface", "civitai", "modelscope", "github", "pypi", "torch", "apt")
"""Lists of mirrors that the cache can serve, each on its own port, so that paths and endpoints stay unchanged."""

FILES = "files"
"""Hosts of package indexes' files, requested as /https://HOST/PATH."""

MODELS = "models"
"""The models of the cache's own host, for sources of the form host:NAME/PATH."""

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")


class Cache(Settings):
    """A caching proxy on the host that has this role (group cache); the fleet's mirrors then point at it first."""

    port: int = Field(
        default=8180, ge=1024, le=65000, description="First of the nine ports it listens on, one per kind of upstream."
    )
    size_gb: float = Field(default=200, ge=1, description="Disk that kept files may take, in GB; the oldest go first.")
    keep_days: int = Field(default=90, ge=1, description="Days after which a file that nobody asked for is dropped.")
    slice_mb: int = Field(
        default=16, ge=1, le=512, description="Files are fetched and kept in pieces of so many MB (2^20 bytes)."
    )
    allow: tuple[IPv4Network, ...] = Field(
        default=tuple(map(IPv4Network, PRIVATE)),
        description="Networks whose hosts may use it; it speaks plain HTTP, so keep it to networks you trust.",
    )
    hold_tokens: bool = Field(
        default=False,
        description="Let it use the fleet's Hugging Face, Civitai and ModelScope tokens, so that gated models come "
        "over it as well; whoever may use the cache can then read them.",
    )

    @property
    def ports(self) -> range:
        """All ports that it may listen on."""
        return range(self.port, self.port + len((*KINDS, FILES, MODELS)))

    def port_of(self, service: str) -> int:
        """The port of one of KINDS, FILES or MODELS."""
        return self.port + (*KINDS, FILES, MODELS).index(service)
