"""A sync that is killed over and over: nothing is spoilt, and hardly a byte is fetched twice."""

import random
import time

import pytest

from tests.roles.models.conftest import Fetcher, model, wanted
from tests.roles.models.origin import Origin

KILLS = 50
FILES = [model(seed, 3_000_000) for seed in range(8)]


@pytest.mark.lab  # needs no host, but a minute
def test_fifty_kills_cost_less_than_a_tenth(
    fetcher: Fetcher, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    origin.rate = 600_000
    files = [
        wanted(data, origin.serve(f"/{number}", data), model=str(number)) | {"suffix": ".safetensors"}
        for number, data in enumerate(FILES)
    ]
    dice = random.Random(4)
    interrupted = 0
    for _ in range(KILLS):
        process = fetcher.start(fetcher.manifest(*files))
        time.sleep(dice.uniform(0.1, 0.6))
        interrupted += process.poll() is None
        process.kill()
        process.communicate()
        assert all(path.read_bytes() in FILES for path in fetcher.final_names())
    done = fetcher.run(*files)
    assert (done.status, done.errors) == (0, [])
    assert sorted(path.read_bytes() for path in fetcher.final_names()) == sorted(FILES)
    share = origin.sent / sum(map(len, FILES))
    with capsys.disabled():
        print(f"\n{KILLS} kills, {interrupted} of them in mid-download: {share:.3f} x the files' size was sent")
    assert interrupted > KILLS / 2
    assert share <= 1.10
