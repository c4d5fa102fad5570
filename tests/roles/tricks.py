"""What a service's user can put into the places that it owns, and what is typed while it lies there."""

import shlex
from dataclasses import dataclass

ROOT = "/srv/sdfleet"
DATA = f"{ROOT}/data/webui"
KEPT = f"{DATA}/extensions-kept"
RUN = f"{ROOT}/runs/ink"
HOME = f"{ROOT}/data/trainer"
STATE = "/run/sdfleet-webui/state.json"
OUTSIDE = "/srv/outside"
TRAP = "/srv/trap"
CAUGHT = "/srv/caught"

PREPARE = f"""
mkdir -p {OUTSIDE}/folder; echo untouched >{OUTSIDE}/file; echo untouched >{OUTSIDE}/folder/file
chmod 700 {OUTSIDE}/folder; chmod 755 {OUTSIDE}; touch {CAUGHT}; chmod 666 {CAUGHT}
printf '#!/bin/sh\\nid -un >>{CAUGHT}\\n' >{TRAP}; chmod 755 {TRAP}
"""
"""A folder and files that nothing may touch, and a program that must never run."""

LOOK = f"""
find {OUTSIDE} {TRAP} {ROOT}/tools /etc/passwd /etc/shadow /etc/sudoers.d -printf '%p %y %u %g %m %s %l\\n' | sort
find {OUTSIDE} {ROOT}/tools /etc/passwd /etc/shadow -type f ! -name '*.pyc' -exec sha256sum {{}} + | sort
cat {CAUGHT}
"""
"""Prints all of that, and who ran the program."""


@dataclass(frozen=True)
class Trick:
    """One thing that a service's user does before verbs are typed."""

    user: str
    place: str
    """What docs/hardening.md calls the place."""
    trick: str
    """What it calls the trick."""
    plant: str
    """Shell commands, run as the user."""
    wave: int
    """Tricks of one wave lie there at one time."""
    undo: str
    """Shell commands, run as root, that clear the place for the next trick."""


VERBS = (
    *(
        "plan",
        "apply --role base",
        "apply --role models",
        "apply --role webui",
        "verify",
        "status",
        "models list",
        "models prune --yes",
    ),
    *("train list", "train fetch ink", "train publish ink --as cats"),
)
"""What is typed while the tricks of a wave lie there."""
BUILD = ("apply --role webui --fleet built.toml", "plan --fleet built.toml", "verify --fleet built.toml")
"""A release that is not there yet: it is built, and looked at, while they lie there."""
RESUMED = ("train resume ink --no-follow", "train stop ink")
"""And in the wave in which the run says that it has not ended."""


def _git(folder: str) -> str:
    """A repository whose configuration names the trap wherever git runs programs."""
    keys = ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "filter.x.clean", "filter.x.process")
    configured = "; ".join(f"git -C {folder} config {key} {TRAP}" for key in keys)
    commit = "-c user.name=t -c user.email=t@t.invalid commit -qm one"
    return (
        f"mkdir -p {folder}; git init -q {folder}; echo '* filter=x' >{folder}/.gitattributes; echo a >{folder}/a; "
        f"git -C {folder} add -A; git -C {folder} {commit}; {configured}; "
        f"mkdir -p {folder}/.git/hooks; cp {TRAP} {folder}/.git/hooks/post-checkout; touch {folder}/a"
    )


def _bare(folder: str) -> str:
    """A repository without objects whose configuration says that the trap gets them."""
    keys = {"core.repositoryformatversion": "1", "extensions.partialclone": "x", "remote.x.promisor": "true"}
    keys |= {"remote.x.url": folder, "remote.x.uploadpack": TRAP, "protocol.allow": "always"}
    configured = "; ".join(f"git -C {folder} config {key} {value}" for key, value in keys.items())
    return f"git init -q --bare {folder}; {configured}"


TRICKS = (
    Trick(
        "sdwebui",
        "/run/sdfleet-webui/state.json",
        "FIFO",
        f"rm -f {STATE}; mkfifo {STATE}",
        2,  # in which models change, so that an apply looks whether the WebUI is there to be told
        f"rm -f {STATE}; systemctl restart sdfleet-webui || true",  # its folders are gone until the next apply
    ),
    Trick(
        "sdwebui",
        "data/webui/extensions",
        "folder swapped for one with a git configuration, hooks and filters",
        f"cd {DATA}; mv extensions .exts && {{ {_git(f'{DATA}/extensions/good')}; }} || true",  # it is root's
        0,
        f"[ ! -e {DATA}/.exts ] || rm -rf {DATA}/extensions {DATA}/.exts",
    ),
    Trick(
        "sdwebui",
        "data/webui/extensions",
        "link to a folder of root's",
        f"cd {DATA}; mv extensions .exts && ln -s {OUTSIDE}/folder extensions || true",
        1,
        f"[ ! -e {DATA}/.exts ] || rm -rf {DATA}/extensions {DATA}/.exts",
    ),
    Trick(
        "sdwebui",
        "data/webui/extensions-kept",
        "git configuration that names programs, FIFO and sparse file under names that extensions lack",
        f"mkdir -p {KEPT}/good/.git {KEPT}/plain; {_bare(f'{KEPT}/repository')}; "
        f"echo {KEPT}/repository >{KEPT}/good/.git/commondir; ln -s {OUTSIDE}/folder {KEPT}/plain/scripts; "
        f"mkfifo {KEPT}/plain/requirements.txt; truncate -s 4T {KEPT}/plain/install.py",
        0,
        f"rm -rf {KEPT}",
    ),
    Trick(
        "sdwebui",
        "data/webui/extensions-kept",
        "link to a folder of root's",
        f"ln -s {OUTSIDE}/folder {KEPT}",
        1,
        f"rm -f {KEPT}",
    ),
    Trick(
        "sdwebui",
        "data/webui/extensions-kept",
        "folder of an extension swapped for a link to a folder of root's",
        f"mkdir -p {KEPT}; ln -s {OUTSIDE}/folder {KEPT}/good; ln -s {OUTSIDE}/folder {KEPT}/plain",
        2,
        f"rm -rf {KEPT}",
    ),
    Trick(
        "sdwebui",
        "data/webui/{cache,tmp,config_states}",
        "links to a folder of root's",
        f"cd {DATA}; for n in cache tmp config_states; do rm -rf $n; ln -s {OUTSIDE}/folder $n; done",
        2,
        f"cd {DATA}; rm -f cache tmp config_states",
    ),
    Trick(
        "sdwebui",
        "data/webui/config.json",
        "FIFO",
        f"cd {DATA}; rm -f config.json; mkfifo config.json",
        0,
        f"rm -f {DATA}/config.json",
    ),
    Trick(
        "sdwebui",
        "data/webui/config.json",
        "sparse file of 4 TB",
        f"cd {DATA}; rm -f config.json; truncate -s 4T config.json",
        1,
        f"rm -f {DATA}/config.json",
    ),
    Trick(
        "sdwebui",
        "/run/sdfleet-webui/state.json",
        "link to an endless file",
        f"ln -sf /dev/zero {STATE}",
        1,
        f"rm -f {STATE}; systemctl restart sdfleet-webui",
    ),
    Trick(
        "sdwebui",
        "data/webui/models/Lora",
        "folder swapped for a link to a folder of root's",
        f"cd {DATA}/models; rm -rf Lora; ln -s {OUTSIDE}/folder Lora",
        0,
        f"rm -rf {DATA}/models/Lora",
    ),
    Trick(
        "sdwebui",
        "data/webui/models",
        "folder swapped for a link to a folder of root's",
        f"cd {DATA}; mv models .was; ln -s {OUTSIDE}/folder models",
        1,
        f"rm -rf {DATA}/models; mv {DATA}/.was {DATA}/models",
    ),
    Trick(
        "sdwebui",
        "data/webui/models/*",
        "links and FIFOs under the names of unfinished files",
        f"mkdir -p {DATA}/models/Lora; cd {DATA}/models/Lora; mkfifo .cats.json.sdfleet-new; "
        f"for n in .cats.safetensors.new .cats.safetensors.sdfleet-new ../Stable-diffusion/.light.json.sdfleet-new; "
        f"do ln -s {OUTSIDE}/file $n; done; rm -f ../Stable-diffusion/*.safetensors",
        2,
        f"rm -f {DATA}/models/*/.*new",
    ),
    Trick(
        "sdtrain",
        "runs/RUN",
        "link under the name of an unfinished slot file",
        f"ln -sf {OUTSIDE}/file {RUN}/.turn.json.new; rm -f {RUN}/run.json",
        1,
        f"rm -f {RUN}/.turn.json.new",
    ),
    Trick(
        "sdtrain",
        "runs/RUN",
        "config, slot file and inputs moved away and replaced",
        f"cd {RUN}; for n in config.toml turn.json inputs; do mv $n was-$n && ln -s {OUTSIDE}/file $n; done; true",
        1,
        "true",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/log.jsonl",
        "link to a file that root alone reads",
        f"cd {RUN}; mv log.jsonl was.jsonl; ln -s /etc/shadow log.jsonl",
        0,
        f"cd {RUN}; mv was.jsonl log.jsonl",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/{log.jsonl,run.json}",
        "FIFOs",
        f"cd {RUN}; for n in log.jsonl run.json; do mv $n was.$n; mkfifo $n; done",
        2,
        f"cd {RUN}; for n in log.jsonl run.json; do mv was.$n $n; done",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/{log.jsonl,output}",
        "sparse files of 4 TB",
        f"cd {RUN}; mv log.jsonl was.jsonl; truncate -s 4T log.jsonl output/more.safetensors",
        1,
        f"cd {RUN}; mv was.jsonl log.jsonl; rm output/more.safetensors",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/run.json",
        "sparse file of 4 TB",
        f"truncate -s 4T {RUN}/run.json",
        1,
        f"[ $(stat -c %s {RUN}/run.json) -lt 1000000 ] || rm {RUN}/run.json",  # a run that ends writes its own
    ),
    Trick(
        "sdtrain",
        "runs/RUN/checkpoint",
        "link to a folder of root's",
        f"cd {RUN}; rm -rf checkpoint; ln -s {OUTSIDE}/folder checkpoint",
        0,
        f"rm -f {RUN}/checkpoint",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/checkpoint",
        "link to a file of root's, FIFO and sparse file under names of checkpoints, and a git configuration",
        f"cd {RUN}; mkdir -p checkpoint; ln -s {OUTSIDE}/file checkpoint/step-3; mkfifo checkpoint/step-1; "
        f"truncate -s 4T checkpoint/step-2; {_git(f'{RUN}/checkpoint/step-4')}",
        1,
        f"rm -rf {RUN}/checkpoint",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/checkpoint",
        "folder swapped for a FIFO",
        f"cd {RUN}; rm -rf checkpoint; mkfifo checkpoint",
        2,
        f"rm -f {RUN}/checkpoint",
    ),
    Trick(
        "sdtrain",
        "data/trainer",
        "other mode, links to a folder and a file of root's, FIFO, sparse file and git configuration",
        f"cd {HOME}; chmod 777 .; {_git(f'{HOME}/repository')}; ln -s {OUTSIDE}/folder sample; "
        f"for n in .profile .bashrc .gitconfig; do ln -s {OUTSIDE}/file $n; done; mkfifo fifo; truncate -s 4T endless",
        0,
        f"find {HOME} -mindepth 1 -delete",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/output",
        "links to files that root alone reads, and to a folder of root's",
        f"cd {RUN}; ln -s /etc/shadow output/shadow.safetensors; ln -s {OUTSIDE}/folder samples",
        0,
        f"rm -f {RUN}/output/shadow.safetensors {RUN}/samples",
    ),
    Trick(
        "sdtrain",
        "runs/RUN/output",
        "link to a folder of root's while the run is deleted",
        f"cd {RUN}; mkdir -p samples; ln -s {OUTSIDE}/folder samples/deep",
        2,
        "true",
    ),
    Trick(
        "sdtrain",
        "runs/.turns",
        "links to a file of root's, a FIFO and a sparse file under the names of locks",
        f"cd {ROOT}/runs/.turns; rm -f *; for n in cpu 0 gpu0 gpu-0; do ln -s {OUTSIDE}/file $n; done; mkfifo fifo; "
        "truncate -s 4T endless",
        0,
        f"rm -f {ROOT}/runs/.turns/*",
    ),
)

LORA = f"{ROOT}/data/lora_scripts"
GATE, GATE_CACHE = "/run/sdfleet-gateway", "/var/cache/sdfleet-gateway"
OTHER_TRICKS = (
    Trick(
        "sdlora",
        "data/lora_scripts",
        "links to a folder of root's, a FIFO and a sparse file in each folder that it writes",
        f"cd {LORA}; for d in . output logs config; do [ -d $d ] || continue; ln -s {OUTSIDE}/folder $d/sample; "
        f"ln -s {OUTSIDE}/file $d/.new; mkfifo $d/fifo.toml; truncate -s 4T $d/endless.safetensors; done",
        0,
        f"find {LORA} \\( -name sample -o -name .new -o -name fifo.toml -o -name endless.safetensors \\) -delete",
    ),
    Trick(
        "sdcache",
        "cache/http",
        "links to a folder of root's, a FIFO and a sparse file",
        f"cd {ROOT}/cache/http; ln -s {OUTSIDE}/folder sample; ln -s {OUTSIDE}/file 0; mkfifo fifo; truncate -s 4T end",
        0,
        f"cd {ROOT}/cache/http; rm -f sample 0 fifo end",
    ),
    Trick(
        "sdcache",
        "/run/sdfleet-cache",
        "link to a file of root's under the name of nginx's pid",
        f"cd /run/sdfleet-cache; rm -f nginx.pid; ln -s {OUTSIDE}/file nginx.pid; ln -s {OUTSIDE}/folder folder",
        0,
        "rm -f /run/sdfleet-cache/nginx.pid /run/sdfleet-cache/folder; systemctl restart sdfleet-cache",
    ),
    Trick(
        "the gateway's",
        "/run/sdfleet-gateway",
        "links to files of root's under the names of sessions, pid and unfinished files",
        f"cd {GATE}; rm -f sessions.json nginx.pid; ln -s /etc/shadow sessions.json; "
        f"for n in nginx.pid .sessions.json.new more; do ln -s {OUTSIDE}/file $n; done; mkfifo fifo",
        0,
        f"cd {GATE}; rm -f sessions.json nginx.pid .sessions.json.new more fifo; systemctl restart sdfleet-gateway",
    ),
    Trick(
        "the gateway's",
        "/var/cache/sdfleet-gateway",
        "link to a folder of root's, and a sparse file",
        f"cd {GATE_CACHE}; ln -s {OUTSIDE}/folder folder; truncate -s 4T endless",
        0,
        f"cd {GATE_CACHE}; rm -f folder endless",
    ),
)
"""Those of services that the WebUI's host does not have."""


def as_its_user(trick: Trick) -> str:
    """The command that plants a trick; the gateway's user has no name of its own, but owns its folder."""
    plant = shlex.quote(trick.plant)
    if trick.user != "the gateway's":
        return f"runuser -u {trick.user} -- sh -c {plant}"
    uid = f"$(stat -c %u {GATE})"
    return f"setpriv --reuid={uid} --regid={uid} --clear-groups sh -c {plant}"
