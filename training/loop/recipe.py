"""The recipe: from a config to a LoRA file, top to bottom.

One loop serves all families; what differs between them (how prompts are encoded, which conditions the UNet takes, how
layers are named) comes from training.base, training.data.text and training.lora.naming.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from training import rng
from training.base import fp8
from training.base.loading import BaseModel
from training.config import Config
from training.data import pictures, prompts
from training.data.order import length
from training.data.text import Embedding
from training.errors import TrainingError
from training.loop import capture, determinism, milestones, samples, unet_options, validation
from training.loop.cuda_graphs import CudaGraphs
from training.loop.distributed import Group
from training.loop.fingerprint import fingerprint
from training.loop.inputs import Feed, Inputs
from training.loop.late import LateLosses
from training.loop.objective import Objective
from training.loop.precision import OverflowWatch
from training.loop.prepare import DTYPES, device_of, encodes_along, prepare
from training.loop.progress import Progress, ticker
from training.loop.train_state import TrainState
from training.lora import ema, export
from training.lora import network as networks
from training.run_folder import RunFolder
from training.sections.network import Network as NetworkSettings
from training.signals import Interrupted, Stop


def train(config: Config, run: RunFolder, stop: Stop, say: Callable[[str], None], group: Group) -> dict[str, Any]:
    """Train to the end, going on from the folder's last checkpoint; returns what is to be said of the result.

    `group` are the processes that share the run.

    Raises Interrupted after writing a checkpoint if `stop` asks for it, InputError for what a person must mend,
    TrainingError if training fails.
    """
    began = time.time()
    group.agree("train.precision", config.train.precision)

    # The base model and the data: pictures and captions are encoded once.
    base = BaseModel(config.model)
    seed = config.train.seed
    found, held = validation.hold_back(config.validation, config.held_back, seed, pictures.find(config.data))
    drawn = prompts.prompts(config.sample, config.data.resolution, seed)
    say(f"{config.model.checkpoint.name}: {base.family}; {len(found)} pictures, {len(held)} more held back")
    for remark in base.remarks(config.objective.zero_terminal_snr):
        say(remark)
    tick = ticker(stop, say)
    texts = [*prompts.texts(drawn), *(picture.caption for picture in held)]
    device, dtype = device_of(config.train.device), DTYPES[config.train.precision]
    trains_text = config.network.text_encoder
    with group.prepared():
        prepared = prepare(
            config.data,
            config.train,
            base,
            found,
            run,
            tick,
            texts,
            along=encodes_along(config.data, device, group.world),
            trains_text=trains_text,
            prior_weight=config.objective.prior_loss_weight,
        )
        check = None
        if held:
            still = validation.still(config.data)
            check = prepare(
                still, config.train, base, held, run, tick, (), prepared.text, along=False, trains_text=trains_text
            )
    batches = prepared.batches
    steps, per_epoch = length(config.train, batches.per_epoch)

    # The network: a frozen UNet and frozen text encoders with trained low-rank layers inside.
    unet = base.unet(dtype).to(device)
    encoders = prepared.text.encoders if prepared.text and trains_text else []
    network = networks.attach(config.network, seed, base.family, unet if config.network.unet else None, encoders)
    if config.network.start_from:
        ema.start_from(network, config.network.start_from)
    if not config.train.full_precision:
        network.to(dtype)
    if config.model.storage == "fp8":
        fp8.store(unet)
    unet_options.apply(config.train, device, unet, encoders, say)
    forward: Any = torch.compile(unet) if config.train.compile else unet
    compute: Any = contextlib.nullcontext()
    if dtype in (torch.float16, torch.bfloat16):
        # Without a cache of weights in half precision: a captured pass must not use what another one cast.
        compute = torch.autocast(device.type, dtype, cache_enabled=False)

    # What is learned, how the weights move, and where they stand: at the start, or where the checkpoint says.
    objective = Objective(config.objective, base.v_prediction, seed, device)
    state = TrainState.make(
        config.optimizer, config.schedule, config.train, network, device, steps, config.network.max_norm
    )
    decisive = fingerprint(config, prepared.content)
    done, counted = state.restore(run, decisive, group)
    watch = OverflowWatch(config.train, config.optimizer)
    if counted:
        watch.restore(counted["overflow"])
    due = milestones.Milestones(config.name, config.save, config.sample, config.validation, steps, per_epoch)
    board = run.tensorboard if config.log.tensorboard and group.writes else None
    progress = Progress(run.log, steps, per_epoch, config.log.every_steps, board, shown=group.writes)
    progress.start(done, counted.get("smooth"), name=config.name, resumed=done > 0, precision=config.train.precision)
    resumed = f"going on after step {done}" if done else "from the start"
    say(f"{export.summary(network)}; {config.train.precision}; {steps} steps, {resumed}")

    def predict(noisy: Tensor, timesteps: Tensor, text: Embedding, sizes: Tensor) -> Tensor:
        """What the UNet says of noisy latents; SDXL is told the pictures' sizes too."""
        added = {}
        if text.pooled is not None:
            added = {"added_cond_kwargs": {"text_embeds": text.pooled, "time_ids": sizes}}
        with compute:
            said: Tensor = forward(noisy.to(dtype), timesteps, text.hidden.to(dtype), return_dict=False, **added)[0]
        return said

    def loss_of(inputs: Inputs) -> Tensor:
        noisy = objective.noisy(inputs.latents, inputs)
        said = predict(noisy.latents, noisy.timesteps, inputs.embedding, inputs.sizes)
        return objective.loss(said, noisy, inputs.weights, inputs.mask) * inputs.share

    def learn(inputs: Inputs) -> Tensor:
        """Add a pass' gradients to the weights'; returns its part of the step's loss. Nothing in it asks the GPU."""
        if not inputs.share:
            return torch.zeros((), device=device)
        loss = loss_of(inputs) / accumulation
        if loss.requires_grad:
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def write(name: str, step: int) -> str:
        """Write a LoRA file; returns its sha256."""
        values = network.tensors(state.average.values if state.average else None)
        notes = export.notes(config, base, found, prepared.digest, step, batches.per_epoch)
        path = run.output / f"{name}.safetensors"
        digest = export.write(path, values, notes, config.save.precision)
        progress.event("saved", step, file=path.name, sha256=digest)
        return digest

    @torch.no_grad()
    def look(step: int, *, at_samples: bool, at_validation: bool) -> None:
        """Draw pictures and measure the held-back pictures' loss; neither touches what is trained."""
        unet_options.switch((unet, *encoders), training=False)
        if at_validation and check:
            times = validation.timesteps(config.validation.timesteps)
            numbers = range(check.batches.per_epoch)
            inputs = (feed.at(check.batches[number], check, time) for number in numbers for time in times)
            losses = [loss_of(one.on(device)).item() for one in inputs]
            progress.validation(step, sum(losses) / len(losses))
        if at_samples and drawn:
            passes.rest()
            vae = prepared.vae or base.vae(torch.float32).to(device)
            run.samples.mkdir(exist_ok=True)
            for place, prompt in enumerate(drawn):
                picture = samples.draw(prompt, base.v_prediction, predict, prepared.encode, vae)
                path = run.samples / samples.file_name(config.name, step, place)
                picture.save(path)
                progress.event("sample", step, file=path.name, prompt=prompt.text)
        unet_options.switch((unet, *encoders), training=True)

    # How passes are made: captured into CUDA graphs where that is possible.
    accumulation = config.train.accumulation
    group.begin(state.parameters)
    feed = Feed(objective, device, seed, group)
    reason = capture.obstacle(config.network, config.train, device, group.world)
    shapes = capture.chosen(batches, steps * accumulation, every=config.train.capture == "on") if not reason else []

    def give_up(sentence: str) -> None:
        """Passes could not be captured again after pictures were drawn."""
        if config.train.capture == "on":
            raise TrainingError(
                f'train.capture = "on" failed: {sentence}; the last checkpoint is kept; set it to "auto"'
            )
        progress.event("passes", step, how=sentence)
        say(sentence)

    passes = capture.passes(
        config.train.capture,
        reason,
        capture.Eager(learn, device),
        lambda: capture.Captured(learn, state.parameters, device, CudaGraphs(), give_up),
        [feed(batches[batches.order.first(shape)], prepared) for shape in shapes],
    )
    progress.event("passes", done, how=passes.sentence)
    if device.type == "cuda":
        say(passes.sentence)

    # The loop. Losses are read some steps late, so that a GPU never waits for Python.
    if done == 0 and group.writes and (config.sample.at_first or check):
        look(0, at_samples=config.sample.at_first, at_validation=True)
    numbers = iter(batches.loader(group.numbers(done * accumulation, steps * accumulation)))
    text_steps = math.ceil(config.network.text_encoder_until * steps)
    late = LateLosses(device, functools.partial(_report, progress, watch))
    state.begin()
    for step in range(done + 1, steps + 1):
        if step > text_steps:
            _freeze(network.text)
        losses = []
        for _ in range(group.passes(accumulation)):
            batch = next(numbers)
            _seed_dropout(config.network, seed, batch.number)
            losses.append(passes(feed(batch, prepared)))
        total, asked = group.meet(state.parameters, torch.stack(losses).sum(), stop.asked)
        rates = state.rates()
        overflowed = state.step()
        late.add(step, torch.stack([total, overflowed.to(total)]), rates)

        pause = asked and step < steps
        if pause or due.any(step):
            late.flush()
        if group.writes and (pause or due.any(step)):
            with state.in_use():
                if name := due.file(step):
                    write(name, step)
                    milestones.forget_old_files(run.output, config.name, config.save.keep)
                look(step, at_samples=due.samples(step), at_validation=due.validation(step))
            if pause or due.checkpoint(step):
                # Last, so that a run killed before it makes the files above again.
                told = {"smooth": progress.smooth, "overflow": watch.state()}
                state.keep(run, step, decisive, told, config.save.keep_checkpoints)
        if pause:
            progress.event("stopped", step)
            progress.close()
            raise Interrupted

    # The result.
    digest = ""
    if group.writes:
        with state.in_use():
            digest = write(config.name, steps)
    result = {
        "file": f"{config.name}.safetensors",
        "sha256": digest,
        "steps": steps,
        "loss": progress.smooth,
        "skipped_steps": watch.skipped,
        "seconds": round(time.time() - began, 1),
        "checkpoint_sha256": prepared.digest,
        "passes": passes.sentence,
        "kernels": determinism.flags(),
    }
    progress.event("end", steps, loss=progress.smooth, file=result["file"], sha256=digest)
    progress.close()
    return result


def _report(progress: Progress, watch: OverflowWatch, step: int, told: Tensor, rates: dict[str, float]) -> None:
    """`told` are the step's loss and whether its gradients overflowed, read from the device here."""
    loss, overflowed = told.tolist()
    try:
        watch.see(step, loss, bool(overflowed))
    except TrainingError:
        progress.event("error", step, message=f"the loss is {loss}")
        raise
    progress.step(step, loss, rates, watch.skipped)


def _seed_dropout(network: NetworkSettings, seed: int, number: int) -> None:
    """Dropout draws from torch's global generator: give it a place of its own in every forward pass."""
    if network.dropout or network.rank_dropout or network.module_dropout:
        torch.manual_seed(rng.key(seed, "dropout", number))


def _freeze(layers: Sequence[networks.Layer]) -> None:
    for layer in layers:
        for parameter in layer.parts.values():
            parameter.requires_grad_(False)
