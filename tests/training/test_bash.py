"""Scripts are followed as bash itself runs them: each is also run by bash, with a stand-in for accelerate."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mutations import examples
from training.errors import InputError
from training.kohya import bash
from training.textfile import read_text

HEAD = 'm="./base.safetensors"\nextArgs=()\n'
LAUNCH = "accelerate launch train_network.py --model=$m ${extArgs[@]}\n"
SCRIPTS = {
    "options in an array": HEAD + 'extArgs+=("--flip_aug" "--min_snr_gamma 5")\n' + LAUNCH,
    "an array that is quoted": HEAD + 'extArgs+=("--a b")\naccelerate launch train_network.py "${extArgs[@]}"\n',
    "an if": HEAD + 'dim=16\nif [[ $dim == 16 ]]; then m="other"; fi\n' + LAUNCH,
    "else": HEAD + 'x=0\nif [ $x == 1 ]; then extArgs+=("--a"); elif [ $x == 2 ]\nthen m=1\nelse m=2; fi\n' + LAUNCH,
    "nested": HEAD + "a=1; b=\nif [[ $a ]]; then if [[ $b ]]; then m=1; else m=2; fi; fi\n" + LAUNCH,
    "and, or": HEAD + 'a=1\n[[ $a == 1 ]] && extArgs+=("--one")\n[[ $a == 2 ]] || extArgs+=(--two)\n' + LAUNCH,
    "not": HEAD + "if [[ ! $nothing && -z $nothing || -n $m ]]; then extArgs+=(--a); fi\n" + LAUNCH,
    "an empty operand": HEAD + "if [ $nothing == 1 ]; then m=1; fi\nif [ $nothing ]; then m=2; fi\n" + LAUNCH,
    "numbers": HEAD + "g=0\nif [[ $g -ne 0 ]]; then m=1; fi\nif [[ 5 -gt 3 ]]; then extArgs+=(--b); fi\n" + LAUNCH,
    "a fraction is no number": HEAD + "g=0.5\nif [[ $g -ne 0 ]]; then m=1; fi\n" + LAUNCH,
    "0 is true": HEAD + 'lowram=0\nif [[ $lowram ]]; then extArgs+=("--lowram"); fi\n' + LAUNCH,
    "a pattern": HEAD + 'kind="lycoris.kohya"\nif [[ $kind == lycoris* ]]; then extArgs+=(--c); fi\n' + LAUNCH,
    "brackets in a test": HEAD + "if [[ ( 1 == 1 || 1 == 2 ) && 2 == 2 ]]; then m=3; fi\n" + LAUNCH,
    "another array": HEAD + 'ext_args=()\next_args+=("--clip_skip 2")\n' + LAUNCH,
    "exported": 'export m="a b" # a path with a blank\naccelerate launch train_network.py --model="$m" --other=$m\n',
    "quotes": "m='$x'\naccelerate launch train_network.py --a=\"x'y\" --b='x\"y' --c=x\\ y --m=$m --d=\"\"\n",
    "defaults": 'accelerate launch train_network.py --a=${a:-5} --b="${b-x y}"\n',
    "defaults that do not count": "a=1\naccelerate launch train_network.py --a=${a:-5}\n",
    "appended text": 'm="a"\nm+="b"\naccelerate launch train_network.py --m=$m\n',
    "a line continued": "accelerate launch \\\n  --num_processes 1 \\\n  train_network.py \\\n  --seed 7 \\\n --a\n",
    "piped and redirected": "accelerate launch train_network.py --a 2>&1 | tee log.txt\n",
    "an environment": "CUDA_VISIBLE_DEVICES=1 accelerate launch train_network.py --a=1 > /dev/null\n",
    "programs beside": 'echo "starting $(date)"\nmkdir -p out\naccelerate launch train_network.py --a=1\ntrue\n',
    "by python": "python -m accelerate.commands.launch ./scripts/sdxl_train_network.py --a=1\n",
    "chained": "true && accelerate launch train_network.py --a=1\n",
    "after an exit": "accelerate launch train_network.py --a=1\nexit 0\naccelerate launch train_network.py --a=2\n",
    "a loop afterwards": "accelerate launch train_network.py --a\nfor x in 1 2; do echo $x; done\n",
    "an empty array that is quoted": 'accelerate launch train_network.py "${extArgs[@]}" --a "${none[@]}"\n',
    "nothing given to the script": 'accelerate launch train_network.py --a "$@" $*\n',
    "an array as one word": 'a=(1 "2 3")\naccelerate launch train_network.py --a "${a[*]}"\n',
    "an array in an assignment": 'a=(x y); b=${a[@]}\naccelerate launch train_network.py --a "$b"\n',
    "a plain assignment to an array": 'a=(x y)\na=z\naccelerate launch train_network.py "${a[@]}"\n',
    "a default for what is unset": "a=\naccelerate launch train_network.py --a=${a-3} --b=${a:-4} --c=${b-5}\n",
    "unset": "m=1\nunset m\nif [[ -z $m ]]; then b=2; fi\naccelerate launch train_network.py --b=$b\n",
    "true and false": "false || a=1\nfalse && a=2\ntrue && b=3\naccelerate launch train_network.py --a=$a --b=$b\n",
    "octal in single brackets": HEAD + "x=010\nif [ $x -eq 10 ]; then m=1; fi\n" + LAUNCH,
    "a text for a program": "m=1\ncat > note.txt <<EOF\nm=2\n--a $m\nEOF\n" + LAUNCH,
    "texts for two programs": "m=1\ncat <<-'A' <<B; m=3\n\tm=2\n\tA\nm=4\nB\n" + LAUNCH,
    "a pipe's failure told": "set -euo pipefail\nm=1\nextArgs=()\n" + LAUNCH,
    "a folder made before": HEAD + "mkdir -p out && cd out && m=2\n" + LAUNCH,
    "help at a failure": HEAD + "nvidia-smi || echo 'no card'\n" + LAUNCH,
    "fed by a pipe": "yes | accelerate launch train_network.py --a\n",
    "read by a loop": "accelerate launch train_network.py --a 2>&1 |\n  while read x; do echo $x; done\n",
    "redirected first": "> log.txt accelerate launch train_network.py --a\n",
    "an if with a redirection": HEAD + "if [[ $m ]]; then if [[ $m ]]; then m=1; fi fi > log.txt\n" + LAUNCH,
    "a test turned round": HEAD + "! [[ $m == x ]] && extArgs+=(--a)\nif ! [ $m ]; then extArgs+=(--b); fi\n" + LAUNCH,
    "turned round twice": HEAD + "if ! ! false; then m=1; else m=2; fi\n" + LAUNCH,
    "an if turned round": HEAD + "! if false; then m=1; fi || extArgs+=(--a)\n" + LAUNCH,
    "nothing turned round": HEAD + "if !; then m=1; else m=2; fi\n!\n" + LAUNCH,
    "a pipe turned round": HEAD + "if ! false | true; then m=1; else m=2; fi\n" + LAUNCH,
    "an assignment turned round": HEAD + "! m=1 || extArgs+=(--a)\n" + LAUNCH,
    "nothing exported": HEAD + 'export "$none"\n' + LAUNCH,
    "a name in a program": 't="./sd-scripts/train_network.py"\naccelerate launch $t --a\n',
}


def run_by_bash(script: Path) -> list[str]:
    """The arguments that the training program gets from bash."""
    programs = script.parent / "bin"
    programs.mkdir()
    seen = script.parent / "seen.json"
    lines = [
        f"#!{sys.executable}",
        "import json, sys",
        "words = sys.argv[1:]",
        "place = next(i for i, word in enumerate(words) if word.endswith('.py'))",
        f"open({str(seen)!r}, 'w').write(json.dumps(words[place + 1:]))",
    ]
    for name in ("accelerate", "python"):
        (programs / name).write_text("\n".join(lines))
        (programs / name).chmod(0o755)
    subprocess.run(
        ["bash", str(script)], cwd=script.parent, env={"PATH": f"{programs}:/usr/bin:/bin"}, capture_output=True
    )
    found: list[str] = json.loads(seen.read_text())
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to compare with")
@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_the_arguments_are_those_that_bash_passes(tmp_path: Path, text: str) -> None:
    script = tmp_path / "train.sh"
    script.write_text(f"#!/bin/bash\n{text}")
    followed = bash.evaluate_script(script, script.read_text())
    assert [value.text for value in followed.launch.words] == run_by_bash(script)


def test_a_script_with_windows_line_ends_passes_the_same_arguments(tmp_path: Path) -> None:
    """bash would pass each last word with a carriage return."""
    lines = (
        HEAD
        + 'if [[ $m ]]; then\n  extArgs+=("--a b")\nfi\naccelerate launch \\\n  train_network.py ${extArgs[@]} \\\n'
    )
    text = lines + "  --model=$m\n"
    passed = []
    for name, content in {"unix.sh": text, "windows.sh": text.replace("\n", "\r\n")}.items():
        script = tmp_path / name
        script.write_bytes(content.encode())
        passed.append([value.text for value in bash.evaluate_script(script, read_text(script)).launch.words])
    assert passed == [["--a", "b", "--model=./base.safetensors"]] * 2


REFUSED = {
    "a loop": ("for x in 1 2; do\n  a=$x\ndone\n" + LAUNCH, "line 1: for: loops, functions and subshells are not"),
    "a function": ("f() {\n a=1\n}\nf\n" + LAUNCH, "line 1: {: loops, functions and subshells are not followed"),
    "a computed value": ("m=$(ls)\n" + LAUNCH, "line 1: $(ls) is computed by the shell; write its value"),
    "arithmetic": ("m=$((1 + 1))\n" + LAUNCH, "line 1: $((1 + 1)) is computed by the shell"),
    "cut out": ('x=a.b\nm="${x%.b}"\n' + LAUNCH, "line 2: ${x%.b} is computed by the shell"),
    "another script": ("source settings.sh\n" + LAUNCH, "line 1: source settings.sh: other scripts are not read"),
    "eval": ('eval "m=1"\n' + LAUNCH, 'line 1: eval "m=1": is not followed here'),
    "a file asked for": ("if [ -f x ]; then m=1; fi\n" + LAUNCH, "line 1: -f: asks for files of the machine"),
    "never set": ("mm=1\n" + LAUNCH, "line 2: $m is passed on but never set in the script (did you mean mm?)"),
    "twice": ("m=1\n" + LAUNCH + LAUNCH, "line 3: starts a second training (the first is in line 2); keep one"),
    "another program": ("accelerate launch flux_train_network.py --a\n", "line 1: flux_train_network.py is not"),
    "no fi": ("if [[ 1 ]]; then m=1\n" + LAUNCH, "line 1: no fi follows"),
    "an empty then": ("if [[ 1 ]]; then fi\n" + LAUNCH, "line 1: a command is missing before 'fi'; bash refuses this"),
    "then after the command": (
        HEAD + "if [[ $m ]]; m=1; then fi\n" + LAUNCH,
        "line 3: a command is missing before 'fi'",
    ),
    "an empty else": ("if [[ 1 ]]; then m=1\nelse\nfi\n" + LAUNCH, "line 3: a command is missing before 'fi'"),
    "an empty condition": ("if ; then m=1; fi\n" + LAUNCH, "line 1: a command is missing before ';'"),
    "! before fi": (HEAD + "if [[ $m ]]; then ! fi\n" + LAUNCH, "line 3: a command is missing before 'fi'"),
    "! before &&": (HEAD + "! && m=1\n" + LAUNCH, "line 3: a command is missing before '&&'; bash refuses this"),
    "| in an array": ("m=(a | b)\n" + LAUNCH, "line 1: '|' in m=( ); bash refuses this script too"),
    "an item that names a program": ("m[0]=train_network.py\n" + LAUNCH, "line 1: m[0]=train_network.py: items of"),
    "arguments set that name a program": (
        "set a train_network.py\n" + LAUNCH,
        "line 1: set a train_network.py: is not",
    ),
    "one fi too many": ("m=1\nfi\n" + LAUNCH, "line 2: a command is missing before 'fi'"),
    "a closing bracket": ("m=1\n)\n" + LAUNCH, "line 2: a command is missing before ')'"),
    "two semicolons": ("m=1;; n=2\n" + LAUNCH, "line 1: a command is missing before ';;'"),
    "nothing after &&": (HEAD + LAUNCH.rstrip() + " &&\n", "line 3: a command is missing at the end of the script"),
    "no file after >": (HEAD + LAUNCH.rstrip() + " >\n", "line 3: a redirection names no file"),
    "an assignment in a pipe": (
        "export m=1 | cat\n" + LAUNCH,
        "line 1: each part of a pipe runs in a shell of its own",
    ),
    "no quote": ('m="a\n' + LAUNCH, 'no closing "'),
    "a list in braces": (
        "accelerate launch train_network.py --{a,b}\n",
        "--{a,b}: patterns and lists in braces are not",
    ),
    "an item": ("m[0]=1\n" + LAUNCH, "line 1: m[0]=1: items of arrays are set in brackets only"),
    "an item in its array": ("m=([1]=x)\n" + LAUNCH, "line 1: [1]=x: items are read in their order only"),
    "a number that is computed": ("m=010\nif [[ $m -eq 8 ]]; then m=1; fi\n" + LAUNCH, "'010': [[ ]] computes a value"),
    "a kind of variable": ("declare -i m=1+1\n" + LAUNCH, "line 1: declare -i: is not followed here"),
    "readonly": ("readonly m=1\nm=2\n" + LAUNCH, "line 2: m: is readonly; bash does not set it again"),
    "local": ("local m=1\n" + LAUNCH, "line 1: local: is for functions only"),
    "arguments set": ("set -- a b\n" + LAUNCH, "line 1: set -- a b: is not followed here"),
    "blanks of another kind": ("IFS=,\n" + LAUNCH, "line 1: IFS: has a meaning for bash itself"),
    "chance": ("m=$RANDOM\n" + LAUNCH, "line 1: $RANDOM: is set by bash itself; write its value into the script"),
    "how many arguments": ("m=$#\n" + LAUNCH, "line 1: $# is computed by the shell"),
    "never set, unquoted": ("accelerate launch train_network.py --a $b\n", "line 1: $b is passed on but never set"),
    "a program that decides": ("m=1\nnvidia-smi && m=2\n" + LAUNCH, "line 2: whether it runs depends on a program"),
    "an if on a program": (
        "m=1\nif nvidia-smi; then\n  echo yes\nelse\n  m=2\nfi\n" + LAUNCH,
        "line 5: the if depends on a program that is not run here; write what it decides into the script",
    ),
    "a training in an if on a program": ("m=1\nif nvidia-smi; then " + LAUNCH + "fi\n", "line 2: the if depends on a"),
    "file names": ("accelerate launch train_network.py --a ./*.png\n", "./*.png: patterns and lists in braces are not"),
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_followed_is_refused_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        bash.evaluate_script(tmp_path / "train.sh", text)
    assert sentence in str(raised.value)


PIECES = [
    *("if", "then", "fi", "else", "[[", "]]", "[", "]", "$m", "${m[@]}", "m=1", "m+=(", ")", "(", "&&", "||", "|", ";"),
    *(
        "'",
        '"',
        "\\",
        "`",
        "$(",
        "accelerate",
        "train_network.py",
        "--a",
        "-z",
        "==",
        "-eq",
        "!",
        "#",
        "for",
        "}",
        "\n",
    ),
]


@examples(300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=25).map(" ".join))
def test_any_text_is_followed_or_refused_in_a_sentence(text: str) -> None:
    try:
        bash.evaluate_script(Path("train.sh"), text)
    except InputError as error:
        assert str(error).startswith("train.sh: ")


DEEP = [
    "! ",
    "if ",
    "if true; then\n",
    "if true; then true; elif ",
    "( ",
    "{ ",
    "$( ",
    "${a:-",
    "true && ",
    "true | ",
    "a=( ",
]
OFTEN = 3000


def passed(text: str) -> list[str]:
    """The arguments that a script passes to the training."""
    return [word.text for word in bash.evaluate_script(Path("train.sh"), text).launch.words]


@pytest.mark.parametrize("piece", [*DEEP, *(f"[[ {piece}" for piece in ("! ", "( ", "! ( ", "1 && "))])
def test_what_is_nested_deeply_is_followed_or_refused_in_a_sentence(piece: str) -> None:
    opening = "[[ " if piece.startswith("[[") else ""
    for end in ("", "1 ]]\n" + LAUNCH, "true\n" + LAUNCH):
        try:
            bash.evaluate_script(Path("train.sh"), HEAD + opening + piece.removeprefix("[[ ") * OFTEN + end)
        except InputError as error:
            assert str(error).startswith("train.sh: ")


@pytest.mark.parametrize("many", [OFTEN, OFTEN + 1])
@pytest.mark.parametrize("test", ["{} false", "[ {} $m ]", "[[ {} $m ]]"])
def test_each_of_many_turns_counts(test: str, many: int) -> None:
    text = HEAD + f"if {test.format(' '.join('!' * many))}; then extArgs+=(--a); fi\n" + LAUNCH
    assert ("--a" in passed(text)) == (many % 2 == ("false" in test))


def test_levels_of_if_are_followed_up_to_a_limit_that_is_named() -> None:
    def nested(levels: int) -> str:
        return HEAD + "if [[ $m ]]\nthen ! ! true\n" * levels + "m=2\n" + "fi\n" * levels + LAUNCH

    assert "--model=2" in passed(nested(50))
    with pytest.raises(InputError, match="line 103: more than 50 levels of if are not read"):
        passed(nested(51))


@pytest.mark.parametrize("test", ["[ 9 -gt {} ]", "[[ 9 -gt {} ]]"])
def test_a_number_of_thousands_of_digits_is_none(test: str) -> None:
    text = HEAD + f"if {test.format('1' * 5000)}; then m=2; fi\n" + LAUNCH
    try:
        assert "--model=2" not in passed(text)
    except InputError as error:
        assert "[[ ]] computes a value from it" in str(error)
