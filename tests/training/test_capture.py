"""Passes over CUDA graphs: the bookkeeping, with a stand-in for torch.cuda that replays by calling again."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.workbench import Workbench
from training import rng
from training.config import Config
from training.data import pictures
from training.data.cache import Cache
from training.data.dataset import Batches, Sources
from training.errors import InputError, TrainingError
from training.loop import capture, recipe
from training.loop.capture import Captured, Eager
from training.loop.cuda_graphs import CudaGraphs, Run
from training.loop.distributed import ProcessGroup
from training.loop.inputs import Inputs
from training.run_folder import RunFolder
from training.signals import Stop

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class Replays:
    """What torch.cuda.graph does, by calling again: recording runs nothing, replaying runs it on the same tensors."""

    def __init__(self, room: int = 1 << 40, taken: int = 0) -> None:
        self.events: list[str] = []
        self._room, self._taken = room, taken

    def warm_up(self, run: Run) -> int:
        self.events.append("warm up")
        run()
        return self._taken

    def room(self) -> int:
        return self._room

    def capture(self, run: Run) -> Run:
        self.events.append("capture")

        def replay() -> None:
            self.events.append("replay")
            run()

        return replay

    def release(self) -> None:
        self.events.append("release")


class Breaks(Replays):
    """A capture that fails as torch's do: the error of its end hides the one that broke it."""

    def capture(self, run: Run) -> Run:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")  # as __exit__ does


class BreaksAgain(Replays):
    """Captures so many shapes, and then no more: memory has become scarce."""

    def __init__(self, captures: int) -> None:
        super().__init__()
        self._captures = captures

    def capture(self, run: Run) -> Run:
        if not self._captures:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nGPU 0 has ...")
        self._captures -= 1
        return super().capture(run)


def unexpected(sentence: str) -> None:
    """Captures that must not fail."""
    raise AssertionError(sentence)


def batch(pictures: int, number: int = 0, side: int = 8) -> Inputs:
    """Inputs of `pictures` pictures, keyed by their number."""
    draw = rng.generator(1, "test", number)
    latents, noise = torch.randn(2, pictures, 4, side, side, generator=draw)
    return Inputs(
        noise=noise,
        timesteps=torch.arange(pictures),
        latents=latents,
        hidden=torch.randn(pictures, 3, 4, generator=draw),
        pooled=None,
        weights=torch.ones(pictures),
        mask=None,
        sizes=torch.ones(pictures, 6),
    )


def learner(dropout: float = 0.0) -> tuple[list[nn.Parameter], Callable[[Inputs], Tensor]]:
    """Two trained tensors, and a forward and backward pass over them."""
    parameters = [nn.Parameter(torch.full((4,), 0.5)), nn.Parameter(torch.ones(()))]

    def learn(given: Inputs) -> Tensor:
        said = nn.functional.dropout(given.latents * parameters[0].view(1, 4, 1, 1), dropout) + parameters[1]
        loss = ((said - given.noise) ** 2).mean() * given.weights.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return parameters, learn


def train(make: Callable[[list[nn.Parameter], Any], Any], shapes: list[int], passes_a_step: int) -> Any:
    """Steps of SGD over batches of so many pictures; the losses, weights and what made the passes."""
    parameters, learn = learner(dropout=0.3)
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    passes = make(parameters, learn)
    losses = []
    for number, count in enumerate(shapes):
        torch.manual_seed(number)
        losses.append(passes(batch(count, number)))
        if number % passes_a_step == passes_a_step - 1:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses), [parameter.detach().clone() for parameter in parameters], passes


@pytest.mark.parametrize("passes_a_step", [1, 3])
def test_captured_passes_train_as_eager_ones_to_the_bit(passes_a_step: int) -> None:
    """Two shapes are captured, a third is not; losses are looked at only after the last replay."""
    shapes = [2, 1, 3, 2, 2, 3, 1, 1, 2, 3, 1, 2]
    backend = Replays()

    def captured(parameters: list[nn.Parameter], learn: Any) -> Captured:
        made = Captured(learn, parameters, CPU, backend, unexpected)
        made.prepare([batch(2, 77), batch(1, 78)])
        return made

    losses, weights, _ = train(lambda _, learn: Eager(learn, CPU), shapes, passes_a_step)
    same_losses, same_weights, passes = train(captured, shapes, passes_a_step)
    assert torch.equal(losses, same_losses)
    assert all(map(torch.equal, weights, same_weights))
    assert backend.events[:4] == ["warm up", "warm up", "capture", "capture"]
    assert backend.events[4:] == ["replay"] * sum(pictures != 3 for pictures in shapes)
    assert passes.sentence == "captured into 2 CUDA graphs"


def test_warming_up_leaves_gradients_weights_and_draws_as_they_were() -> None:
    parameters, learn = learner(dropout=0.5)
    before = [parameter.detach().clone() for parameter in parameters]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Captured(learn, parameters, CPU, Replays(), unexpected).prepare([batch(2)])
    assert torch.equal(torch.rand(3), expected)
    assert all(parameter.grad is None for parameter in parameters)
    assert all(map(torch.equal, before, parameters))


def test_a_replay_reads_buffers_of_its_own() -> None:
    """Inputs that came with the capture, or with an earlier pass, may change or go."""
    parameters, learn = learner()
    sample = batch(2, 1)
    passes = Captured(learn, parameters, CPU, Replays(), unexpected)
    passes.prepare([sample])
    sample.latents.fill_(float("nan"))
    fresh = batch(2, 2)
    loss = passes(fresh)
    fresh.latents.fill_(float("nan"))
    passes(batch(2, 3))
    assert loss.isfinite() and parameters[0].grad is not None and parameters[0].grad.isfinite().all()


def test_the_largest_shape_is_captured_first() -> None:
    parameters, learn = learner()
    sizes: list[int] = []

    def noted(given: Inputs) -> Tensor:
        sizes.append(len(given.latents))
        return learn(given)

    passes = Captured(noted, parameters, CPU, Records(), unexpected)
    passes.prepare([batch(1), batch(3), batch(2)])
    assert sizes[-3:] == [3, 2, 1]


class Records(Replays):
    """Runs what it records, to show the order."""

    def capture(self, run: Run) -> Run:
        run()
        return run


def test_graphs_leave_the_memory_while_pictures_are_drawn() -> None:
    backend = Replays()
    parameters, learn = learner()
    passes = Captured(learn, parameters, CPU, backend, unexpected)
    passes.prepare([batch(2)])
    passes.free_memory()
    passes(batch(2))
    assert backend.events == ["warm up", "capture", "release", "capture", "replay"]


def test_passes_that_cannot_be_captured_again_go_on_eagerly_to_the_bit() -> None:
    """After pictures were drawn there is no memory for the second of two graphs."""
    shapes = [2, 1, 2, 1, 1, 2]
    told: list[str] = []
    backend = BreaksAgain(3)

    def captured(parameters: list[nn.Parameter], learn: Any) -> Any:
        made = Captured(learn, parameters, CPU, backend, told.append)
        made.prepare([batch(2, 77), batch(1, 78)])
        seen = []

        def passes(inputs: Inputs) -> Tensor:
            seen.append(inputs)
            if len(seen) == 4:
                made.free_memory()
            return made(inputs)

        return passes

    losses, weights, _ = train(lambda _, learn: Eager(learn, CPU), shapes, 1)
    same_losses, same_weights, _ = train(captured, shapes, 1)
    assert told == ["no longer captured: CUDA out of memory. Tried to allocate 2 GiB"]
    assert torch.equal(losses, same_losses) and all(map(torch.equal, weights, same_weights))
    # It is not tried again at each pass, and the graph that could be captured gives its memory back.
    assert backend.events[4:] == ["replay"] * 3 + ["release", "capture", "release"]


def test_a_pass_that_fails_half_way_leaves_no_gradients() -> None:
    """The memory is used up in a backward pass, when some gradients are made; the eager passes begin without them."""
    parameters, learn = learner()

    def fails(given: Inputs) -> Tensor:
        learn(given)
        raise torch.OutOfMemoryError("CUDA out of memory")

    eager = Eager(learn, CPU)
    passes = capture.make_passes(
        "auto", None, eager, lambda: Captured(fails, parameters, CPU, Replays(), unexpected), [batch(2)]
    )
    assert passes is eager and all(parameter.grad is None for parameter in parameters)


def test_a_capture_that_breaks_leaves_streams_allocator_and_generator_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As torch does it: capture_end raises before it tells the allocator, and hides the error that broke it all."""
    done: list[str] = []

    class Graph:
        def capture_begin(self, pool: object) -> None:
            done.append(f"begin in {pool}")

        def capture_end(self) -> None:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    class Draws:
        def clone_state(self) -> str:
            return "draws before"

        def graphsafe_set_state(self, state: str) -> None:
            done.append(state)

    class OnStream:
        def __init__(self, stream: str) -> None:
            done.append(f"on {stream}")

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            done.append("stream before")

    for name, value in {
        "CUDAGraph": Graph,
        "Stream": lambda: "stream",
        "stream": OnStream,
        "graph_pool_handle": lambda: "pool",
        "current_device": lambda: 0,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "default_generators": (Draws(),),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda _, pool, name=name: done.append(f"{name} {pool}"), raising=False)

    def run() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError) as broken:
        CudaGraphs().capture(run)
    assert "not permitted when stream is capturing" in str(broken.value.__context__)
    told = ["_cuda_endAllocateToPool pool", "_cuda_releasePool pool", "draws before"]
    assert done == ["on stream", "begin in pool", *told, "stream before"]


@pytest.fixture
def config(bench: Workbench) -> Config:
    return bench.config()


def passes_of(config: Config, backend: Any, reason: str | None = None, samples: int = 1) -> Eager | Captured:
    parameters, learn = learner()
    made = [batch(2)] * samples
    return capture.make_passes(
        config.train.capture,
        reason,
        Eager(learn, CPU),
        lambda: Captured(learn, parameters, CPU, backend, unexpected),
        made,
    )


@pytest.mark.parametrize(
    ("backend", "reason", "samples", "said"),
    [
        (Replays(), "several processes share each step", 1, "not captured: several processes share each step"),
        (Replays(), None, 0, "not captured: no shape has 20 passes in this run"),
        (Breaks(), None, 1, "not captured: CUDA out of memory. Tried to allocate 2 GiB"),
        (Replays(100 << 20, 90 << 20), None, 1, "not captured: it needs 154 MB more, and 100 MB are free"),
    ],
    ids=["a reason", "too short", "a failure", "too little memory"],
)
def test_where_it_cannot_be_captured_one_sentence_says_why(
    config: Config, bench: Workbench, backend: Replays, reason: str | None, samples: int, said: str
) -> None:
    passes = passes_of(config, backend, reason, samples)
    assert isinstance(passes, Eager) and passes.sentence == said
    assert passes(batch(2)).isfinite()
    with pytest.raises(TrainingError, match=r'train\.capture = "on"'):
        passes_of(bench.config(tables={"train": {"capture": "on"}}), backend, reason, samples)


@pytest.mark.parametrize(
    ("tables", "part"),
    [
        ({"train": {"capture": "off"}}, 'train.capture is "off"'),
        ({"train": {"compile": True}}, "train.compile"),
        ({"train": {"gradient_checkpointing": True}}, "gradient checkpointing"),
        ({"train": {"attention": "xformers", "deterministic": False}}, "xformers"),
        ({"network": {"text_encoder": True}}, "text encoders are trained"),
        ({"network": {"module_dropout": 0.1}}, "module_dropout"),
        ({"network": {"kind": "lokr", "rank_dropout": 0.1}}, "rank_dropout of lokr"),
    ],
    ids=lambda value: str(next(iter(value.values()))) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_captured(bench: Workbench, tables: dict[str, Any], part: str) -> None:
    config = bench.config(tables=tables)
    assert part in str(capture.why_not_captured(config.network, config.train, torch.device("cuda"), 1))


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"network": {"dropout": 0.1, "rank_dropout": 0.1}},
        {"train": {"precision": "fp16", "accumulation": 4}},
        {"objective": {"min_snr_gamma": 5.0, "loss": "huber"}, "data": {"alpha_mask": True}},
        {"train": {"attention": "xformers"}},
        {"data": {"captions": {"shuffle": True}}},
    ],
    ids=str,
)
def test_settings_that_can_be_captured(bench: Workbench, tables: dict[str, Any]) -> None:
    config = bench.config(tables=tables)
    assert capture.why_not_captured(config.network, config.train, torch.device("cuda"), 1) is None


def test_a_cpu_or_several_processes_are_not_captured(config: Config) -> None:
    assert capture.why_not_captured(config.network, config.train, CPU, 1) == "CUDA graphs need an NVIDIA GPU"
    assert (
        capture.why_not_captured(config.network, config.train, torch.device("cuda"), 2)
        == "several processes share each step"
    )


def test_capture_on_a_cpu_is_refused_if_the_config_insists(bench: Workbench) -> None:
    with pytest.raises(InputError, match="CUDA graphs need an NVIDIA GPU"):
        bench.train("run", tables={"train": {"capture": "on"}})


def test_shapes_worth_it_are_captured_those_with_most_passes_first(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six pictures of three sizes, each shown twice: four showings a size."""
    for size, expected in ((3, [1, 1]), (4, [1]), (2, [2])):
        config = bench.config(tables={"train": {"batch_size": size}})
        batches = Batches(
            config.data,
            config.train,
            pictures.find_pictures(config.data),
            Sources(None, Cache(bench.folder, "text"), {}),
        )
        shapes = batches.order.shapes()
        counted = Counter((batches.pictures[one[0]].fit.size, len(one)) for one in batches.order.epoch(5))
        assert shapes == counted and list(shapes.values()) == expected * 3
        assert all(counted[shape] for shape in shapes) and batches.per_epoch == sum(expected) * 3
        for shape in shapes:
            first = batches.order.epoch(0)[batches.order.first(shape)]
            assert (batches.pictures[first[0]].fit.size, len(first)) == shape
    # Two batches of each size an epoch: ten epochs are just enough.
    assert capture.shapes_to_capture(batches, 59, every=False) == []
    assert len(capture.shapes_to_capture(batches, 60, every=False)) == 3
    assert len(capture.shapes_to_capture(batches, 1, every=True)) == 3
    monkeypatch.setattr(capture, "MAX_SHAPES", 2)
    assert len(capture.shapes_to_capture(batches, 60, every=False)) == 2


VARIED: dict[str, Any] = {
    "network": {"dropout": 0.1, "rank_dropout": 0.2},
    "objective": {"noise_offset": 0.1, "adaptive_noise_scale": 0.05, "input_perturbation": 0.1},
    "data": {"augment": {"flip": True}, "captions": {"shuffle": True}},
    "train": {"steps": 24, "ema_decay": 0.9, "accumulation": 2},
    "sample": {"prompts": ["a cat --s 1"], "every_steps": 9},
}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_whole_run_over_graphs_gives_the_same_file(
    bench: Workbench, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe with everything that draws numbers, its passes by graphs of every shape; stopped and resumed too."""
    from tests.training.test_repeats import StopsAfter

    bench.train("eager", family, VARIED)
    backend = Replays()
    monkeypatch.setattr(capture, "why_not_captured", lambda *_: None)
    monkeypatch.setattr(recipe, "CudaGraphs", lambda: backend)
    monkeypatch.setattr(capture, "MIN_PASSES", 1)
    bench.train("graphs", family, VARIED)
    assert backend.events.count("replay") == 48
    assert bench.events("graphs", "passes")[0]["how"] == "captured into 3 CUDA graphs"
    bench.train("parts", family, VARIED, stop=StopsAfter(11))
    bench.train("parts", family, VARIED)
    assert bench.digest("graphs") == bench.digest("eager") == bench.digest("parts")


def test_a_run_whose_graphs_are_lost_after_pictures_says_so_and_goes_on(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.train("eager", "sd1", VARIED)
    monkeypatch.setattr(capture, "why_not_captured", lambda *_: None)
    monkeypatch.setattr(recipe, "CudaGraphs", lambda: BreaksAgain(3))
    monkeypatch.setattr(capture, "MIN_PASSES", 1)
    bench.train("graphs", "sd1", VARIED)
    lost = "no longer captured: CUDA out of memory. Tried to allocate 2 GiB"
    told = [(event["step"], event["how"]) for event in bench.events("graphs", "passes")]
    assert told == [(0, "captured into 3 CUDA graphs"), (10, lost)]
    assert json.loads((bench.folder / "graphs" / "run.json").read_text())["passes"] == lost
    assert bench.digest("graphs") == bench.digest("eager")
    insists = {**VARIED, "train": {**VARIED["train"], "capture": "on"}}
    with pytest.raises(TrainingError, match=r'train\.capture = "on" failed: no longer captured: CUDA out of memory'):
        bench.train("insists", "sd1", insists)


@pytest.mark.parametrize(
    ("family", "tables"),
    [
        ("sdxl", {"objective": {"min_snr_gamma": 5.0, "noise_offset": 0.1, "adaptive_noise_scale": 0.05}}),
        ("sd1", {"objective": {"loss": "huber", "input_perturbation": 0.1}, "network": {"kind": "dora"}}),
        ("sd2", {"objective": {"multires_iterations": 3, "debiased_estimation": True}, "network": {"kind": "loha"}}),
        ("sd1", {"objective": {"loss": "smooth_l1", "huber_schedule": "exponential"}, "network": {"kind": "lokr"}}),
        ("sd1", {"network": {"max_norm": 0.1, "dropout": 0.1, "rank_dropout": 0.1}, "train": {"ema_decay": 0.9}}),
    ],
    ids=["adaptive", "dora", "loha", "lokr", "limits"],
)
def test_a_step_asks_the_device_nothing(
    bench: Workbench, family: str, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's meta device: it has no values to be asked for, and refuses to compute with tensors of the host."""
    tables = {**tables, "data": {"alpha_mask": True, "encode": "ahead"}, "optimizer": {"args": {"fused": False}}}
    bench.train("fills the caches", family, tables)
    config = bench.config(family, tables)
    on_meta = config.model_copy(
        update={"train": config.train.model_copy(update={"device": "meta", "precision": "fp32"})}
    )
    monkeypatch.setattr(recipe, "DeferredReport", Unread)
    # One kernel of AdamW skips an overflow by itself, but there is none for this device; without, the scaler asks.
    monkeypatch.setattr(torch.amp.GradScaler, "step", lambda _, optimizer: optimizer.step())
    run = RunFolder(bench.folder / "run")
    run.make()
    with pytest.raises(AllQueued) as done:
        recipe.train(on_meta, run, Stop(), lambda _: None, ProcessGroup())
    assert done.value.steps == config.train.steps


class AllQueued(Exception):
    """All steps of a run are queued, and none was waited for."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class Unread:
    """Losses that nobody reads."""

    def __init__(self, *_: object) -> None:
        self._steps = 0

    def add(self, step: int, loss: Tensor, rates: dict[str, float]) -> None:
        assert loss.device.type == "meta"
        self._steps = step

    def flush(self) -> None:
        raise AllQueued(self._steps)
