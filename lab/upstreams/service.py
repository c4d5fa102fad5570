"""All stand-ins together: ports, folders, faults, one log."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lab.upstreams.academic_proxy import STORAGE, AcademicProxy, of_github, over_tls
from lab.upstreams.civitai import Civitai
from lab.upstreams.faults import Fault, Switchboard
from lab.upstreams.github import GitHub
from lab.upstreams.http import Application, Reply, Request, as_json, text
from lab.upstreams.hub import Cdn, Hub
from lab.upstreams.huggingface import HuggingFace
from lab.upstreams.modelscope import ModelScope
from lab.upstreams.plain import PlainFiles
from lab.upstreams.server import Log, Server

_FAULTS = TypeAdapter(list[Fault])


@dataclass(frozen=True)
class Ports:
    """The port of each stand-in; the field's name is the server's name in faults and in the log."""

    github: int = 8080
    huggingface: int = 8081
    cdn: int = 8082
    modelscope: int = 8083
    civitai: int = 8084
    files: int = 8085
    github_second: int = 8090
    """A second mirror with the same content, to fail over to."""
    huggingface_second: int = 8091
    academic: int = 12798
    """The proxy of a container's provider."""
    control: int = 8099


@dataclass(frozen=True)
class Folders:
    """Paths of the content below one root."""

    root: Path

    @property
    def git(self) -> Path:
        """Bare repositories, OWNER/NAME.git."""
        return self.root / "git"

    @property
    def hub(self) -> Path:
        """Hub repositories, OWNER/NAME/BRANCH/FILES, for Hugging Face and ModelScope alike."""
        return self.root / "hub"

    @property
    def civitai(self) -> Path:
        """versions.json and VERSION_ID/FILES."""
        return self.root / "civitai"

    @property
    def files(self) -> Path:
        """Plain downloads."""
        return self.root / "files"

    @property
    def log(self) -> Path:
        """One JSON line per request."""
        return self.root / "requests.jsonl"


class Upstreams:
    """Every stand-in server; use as a context manager, or `open` and `close`."""

    def __init__(
        self, root: Path, bind: str = "127.0.0.1", ports: Ports | None = None, repositories: Path | None = None
    ) -> None:
        """`repositories`: a folder of bare repositories, OWNER/NAME.git, served before the stand-ins' own."""
        self.ports = ports or Ports()
        self.bind = bind
        self.folders = Folders(root)
        self.faults = Switchboard()
        cdn, hub = Cdn(self.ports.cdn), Hub(self.folders.hub)
        github = GitHub(*([repositories] if repositories else []), self.folders.git)
        huggingface = HuggingFace(hub, cdn)
        apps: dict[str, Application] = {
            "github": github,
            "huggingface": huggingface,
            "cdn": cdn,
            "modelscope": ModelScope(hub, cdn),
            "civitai": Civitai(self.folders.civitai, cdn),
            "files": PlainFiles(self.folders.files, cdn),
            "github_second": github,
            "huggingface_second": huggingface,
            "control": self._control,
        }
        self.log = Log(self.folders.log)
        self._servers = [
            Server(name, (bind, port), apps[name], self.faults, self.log if name != "control" else None)
            for name, port in asdict(self.ports).items()
            if name in apps
        ]
        proxy = AcademicProxy("academic", (bind, self.ports.academic), apps["files"], self.faults, self.log)
        sites: dict[str, Application] = {"github.com": of_github(github), STORAGE: cdn}
        proxy.lead_to({**sites, "huggingface.co": over_tls(huggingface, STORAGE)}, root)
        self._servers.append(proxy)

    def __enter__(self) -> "Upstreams":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Listen on every port that no fault closes. Raises OSError if one is in use."""
        for server in self._servers:
            if server.name != "control" and self.faults.closed(server.name):
                server.close()
            else:
                server.open()

    def close(self) -> None:
        """Stop listening everywhere."""
        # In parallel, because each waits for its serving loop to poll.
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(Server.close, self._servers))

    def url(self, server: str) -> str:
        """http://ADDRESS:PORT of a stand-in."""
        return f"http://{self.bind}:{getattr(self.ports, server)}"

    def set_faults(self, *faults: Fault) -> None:
        """Replace all faults; none switches them off."""
        self.faults.set(list(faults))
        self.open()

    def _control(self, request: Request) -> Reply:
        """PUT or GET /faults: a JSON list of `Fault`; GET and DELETE /requests: the log so far."""
        match request.method, request.path:
            case "PUT", "/faults":
                try:
                    self.set_faults(*_FAULTS.validate_json(request.body.read()))
                except ValidationError as error:
                    return text(400, str(error))
                return as_json(_FAULTS.dump_python(self.faults.list()))
            case "GET", "/faults":
                return as_json(_FAULTS.dump_python(self.faults.list()))
            case "GET", "/requests":
                return as_json(self.log.read())
            case "DELETE", "/requests":
                self.log.clear()
                return as_json(None)
            case _:
                return text(404, "Not Found")
