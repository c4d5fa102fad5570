"""The engine, in a process of its own: it changes Python's blocking calls for the whole process."""

import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
NAMES = """
from deploy.engine import process
from deploy.engine.pyinfra_session import operation_name
import json
from pyinfra.api.config import Config
from pyinfra.api.deploy import deploy
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra.operations import server

inventory = Inventory((["h1", "h2"], {}))
state = State(inventory, Config())
state.current_stage = StateStage.Prepare

@deploy("WebUI")
def install(release):
    server.shell(name=f"Run release {release}", commands=["true"])

found = {}
with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(state.config.copy()):
    for host, release in zip(inventory, ("old", "new")):
        with ctx_host.use(host):
            install(release)
for host in inventory:
    found[host.name] = [operation_name(state, host, op) for op in state.ops[host]]
print(json.dumps(found))
"""


def test_an_operation_goes_by_its_own_hosts_name() -> None:
    """pyinfra joins the names that one operation has on several hosts."""
    done = subprocess.run([sys.executable, "-c", NAMES], cwd=TREE, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"h1": ["WebUI | Run release old"], "h2": ["WebUI | Run release new"]}


FAILS = """
from deploy.engine import process
from deploy.engine.output import ANSI, LogToEvents
import json, logging
from types import SimpleNamespace
from pyinfra import logger
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.operations import server

class Raw(logging.Handler):
    def emit(self, record):
        raw.append(ANSI.sub("", record.getMessage()))

raw = []
logger.setLevel(logging.DEBUG)
logger.propagate = False
for handler in (Raw(), LogToEvents()):
    logger.addHandler(handler)
state = State(Inventory(([("@local", {"settings": SimpleNamespace(name="h1")})], {})), Config(FAIL_PERCENT=100))
state.current_stage = StateStage.Prepare
connect_all(state)
add_op(state, server.shell, commands=["true", "echo no licence >&2; exit 3"])
try:
    run_ops(state)
except BaseException as error:
    raw.append(repr(error))
print(json.dumps(raw))
"""


def test_a_failing_operation_is_told_by_its_reason_and_not_by_pyinfras_count() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], cwd=TREE, capture_output=True, text=True, check=True)
    *events, raw = map(json.loads, done.stdout.splitlines())
    assert any("Error: executed 1 commands" in line for line in raw), raw
    texts = [event["text"] for event in events]
    assert "no licence" in texts, texts
    assert not any("executed" in text for text in texts), texts


SETTING = """
from deploy.engine import process
from inventory.load import load
from pathlib import Path
from roles.settings import SettingError
from types import SimpleNamespace
import sys

for settings in load(Path(sys.argv[1])).hosts.values():
    host = SimpleNamespace(data=SimpleNamespace(settings=settings))
    print(process._reason(SettingError("webui.requirements", "no lock fits"), host))
"""


def test_what_a_role_says_of_a_setting_names_the_table_that_sets_it(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    hosts = '[hosts.a]\naddress = "x"\n[hosts.b]\naddress = "y"\nwebui.requirements = "locks"\n'
    file.write_text(f'[fleet]\nname = "s"\n{hosts}')
    done = subprocess.run([sys.executable, "-c", SETTING, file], cwd=TREE, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["webui.requirements: no lock fits", "hosts.b.webui.requirements: no lock fits"]


HALFWAY = """
import contextlib
from deploy.engine import process
from types import SimpleNamespace

class Session:
    def label(self, host, op):
        return op

    def execute(self, host, op):
        if op == "breaks":
            raise OSError("no space")
        return True

    def meta(self, host, op):
        return SimpleNamespace(will_change=True, did_change=lambda: op == "changes", combined_output=None)

    def leave_out(self, host):
        pass

    def current(self, host):
        return contextlib.nullcontext()

class Guard(SimpleNamespace):
    def begin(self, host):
        pass

    before = after = waits = begin

run = process._Run.__new__(process._Run)
run.session, run.failed, run.budget, run.guard = Session(), 0, 0, Guard(change=SimpleNamespace(verb="apply", token=""))
host = SimpleNamespace(name="h1", connector=None, data=SimpleNamespace(settings=SimpleNamespace(name="h1")))
run.execute(host, ["changes", "stays", "changes", "breaks", "changes"])
"""


def test_a_host_that_failed_says_what_was_changed_before() -> None:
    done = subprocess.run([sys.executable, "-c", HALFWAY], cwd=TREE, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["changed"], result["unchanged"]) == ("failed", 2, 1)
