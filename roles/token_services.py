"""Which endpoints may get a token of the fleet: for the controller, the hosts' downloads and the cache."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

HUGGINGFACE = "https://huggingface.co"
MODELSCOPE = "https://modelscope.cn"
CIVITAI = "https://civitai.com"


@dataclass(frozen=True)
class TokenService:
    """A source of models that has mirrors, or wants a token."""

    origin: str
    endpoints: str
    """Its list of mirrors: a field of [mirrors], and a kind of upstream of the cache."""
    secret: str
    """Field of [secrets] with its token."""
    header: str
    value: str
    own: tuple[str, ...] = ()
    """Further endpoints that belong to the service itself."""

    def headers(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The header with the token, to be sent only where `may_see` allows it."""
        return {self.header: self.value.format(secrets[self.secret])} if self.secret in secrets else {}


SERVICES = (
    TokenService(HUGGINGFACE, "huggingface", "huggingface_token", "Authorization", "Bearer {}"),
    TokenService(CIVITAI, "civitai", "civitai_token", "Authorization", "Bearer {}", ("https://civitai.red",)),
    TokenService(MODELSCOPE, "modelscope", "modelscope_token", "Cookie", "m_session_id={}", ("https://modelscope.ai",)),
)


def may_see(endpoint: str, service: TokenService, tokens_to: Collection[str]) -> bool:
    """Whether an endpoint may get a service's token: its issuer may, a mirror only if the user allows it.

    + endpoint: as in [mirrors]
    + tokens_to: mirrors.tokens_to
    """
    return endpoint in (service.origin, *service.own, *tokens_to)


def service_of(kind: str) -> TokenService | None:
    """The service behind a list of mirrors; None for kinds that have no token."""
    return next((service for service in SERVICES if service.endpoints == kind), None)
