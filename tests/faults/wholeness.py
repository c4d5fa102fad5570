"""What must hold on a host after any fault, whatever the program said."""

from tests.light.fleet import LightFleet

SERVE_SECONDS = 40
"""How long after a fault is over the service may take to be there again: a restart's pause, its start, its picture."""

HALF_MADE = """
set -u; cd $ROOT
for r in apps/webui/releases/*/; do
  [ -s $r/manifest.json ] && [ -s $r/built.json ] && [ -x $r/env/bin/python ] || echo "half-made release $r"
  changed=$(git -c safe.directory='*' -C $r/code status --porcelain --untracked-files=no 2>&1)
  [ -z "$changed" ] || echo "code of $r is not at its commit: $changed"
done
for e in envs/*/; do
  names=$(find $PWD/${e%/} -type f ! -name .inventory ! -name '*.pyc' -printf '%P\\n' | LC_ALL=C sort | sha256sum)
  [ "$names" = "$(cat $e/.inventory)" ] || echo "half-made environment $e"
done
for f in $(find store/sha256 -type f 2>/dev/null); do
  [ "$(sha256sum <$f | cut -d' ' -f1)" = "$(basename $f)" ] || echo "damaged file $f"
done
find apps data hub -xtype l -printf 'dangling link %p\\n' 2>/dev/null
for r in runs/*/; do [ ! -d $r ] || [ -s $r/config.toml ] || echo "half-made run $r"; done
python3 -c 'import json; json.load(open("apps/webui/history.json"))' || echo "history.json is damaged"
for f in /etc/systemd/system/*.service; do [ ! -f $f ] || [ -s $f ] || echo "empty unit $f"; done
for f in supervisor/services/*.service; do
  [ ! -e $f ] || python3 -c 'import json, sys; json.load(open(sys.argv[1]))' $f || echo "damaged $f"
done
"""

KEPT = """
cd $ROOT
for d in data/webui/outputs data/webui/config.json runs datasets store/published.json; do
  [ ! -e $d ] || find $d -type f ! -path '*/.*' ! -name 'log.jsonl' -exec sha256sum {} +
done
"""


def half_made(light: LightFleet, host: str) -> list[str]:
    """Everything that has a final name and is not whole."""
    done = light.lab.ssh(host, f"ROOT={light.root}; {HALF_MADE}")
    return done.stdout.splitlines() if done.returncode == 0 else [f"the host cannot be looked at: {done.stderr}"]


def data(light: LightFleet, host: str) -> set[str]:
    """The user's data: a line with hash and name for each file."""
    return set(light.on(host, f"ROOT={light.root}; {KEPT}").splitlines())


def serves(light: LightFleet, host: str) -> str:
    """Name of the release that serves; AssertionError if none does within the time of a restart."""
    return light.until_ready(host, SERVE_SECONDS)
