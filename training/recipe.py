"""The recipe: from a config to a LoRA file, top to bottom.

One loop serves all families; what differs between them (how prompts are encoded, which conditions the UNet takes, how
layers are named) comes from training.base, training.data.text and training.naming.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training import draws, export, milestones, moving, samples, validation, weights
from training import network as networks
from training.base import fp8
from training.base.loading import BaseModel
from training.config import Config
from training.data import latents, pictures
from training.data.dataset import Batch
from training.data.order import length
from training.data.text import Embedding
from training.errors import InputError, TrainingError
from training.group import Group, part
from training.objective import Objective
from training.prepare import Prepared, device_of, encodes_along, prepare
from training.progress import Progress
from training.runfolder import RunFolder
from training.stopping import Interrupted, Stop

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def train(config: Config, run: RunFolder, stop: Stop, say: Callable[[str], None], group: Group) -> dict[str, Any]:
    """Train to the end, going on from the folder's last checkpoint; returns what is to be said of the result.

    `group` are the processes that share the run.

    Raises Interrupted after writing a checkpoint if `stop` asks for it, InputError for what a person must mend,
    TrainingError if training fails.
    """
    began = time.time()

    # The base model and the data: pictures and captions are encoded once.
    base = BaseModel(config.model)
    found, held = validation.hold_back(config, pictures.find(config.data))
    prompts = samples.prompts(config)
    say(f"{config.model.checkpoint.name}: {base.family}; {len(found)} pictures, {len(held)} more held back")
    for remark in base.remarks(config.objective.zero_terminal_snr):
        say(remark)
    tick = _ticker(stop, say)
    texts = [*samples.texts(prompts), *(picture.caption for picture in held)]
    with group.prepared():
        along = encodes_along(config, group.world)
        prepared = prepare(config, base, found, run, tick, texts, along=along)
        check = None
        if held:
            check = prepare(validation.settings(config), base, held, run, tick, (), prepared.text, along=False)
    batches = prepared.batches
    steps, per_epoch = length(config, batches.per_epoch)

    # The network: a frozen UNet and frozen text encoders with trained low-rank layers inside.
    device, dtype = device_of(config), DTYPES[config.train.precision]
    unet = base.unet(dtype).to(device)
    encoders = prepared.text.encoders if prepared.text and config.network.text_encoder else []
    network = networks.attach(
        config.network, config.train.seed, base.family, unet if config.network.unet else None, encoders
    )
    if config.network.start_from:
        weights.start_from(network, config.network.start_from)
    if not config.train.full_precision:
        network.to(dtype)
    if config.model.storage == "fp8":
        fp8.store(unet)
    _set_up(config, unet, encoders)
    forward: Any = torch.compile(unet) if config.train.compile else unet
    compute = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()

    # What is learned, how the weights move, and where they stand: at the start, or where the checkpoint says.
    objective = Objective(config.objective, base.v_prediction, config.train.seed, device)
    state = moving.Moving.make(config, network, device, steps)
    fingerprint = moving.fingerprint(config, prepared.content)
    done, smooth = state.restore(run, fingerprint, group)
    due = milestones.Milestones(config, steps, per_epoch)
    board = run.tensorboard if config.log.tensorboard and group.writes else None
    progress = Progress(run.log, steps, per_epoch, config.log.every_steps, board, shown=group.writes)
    progress.start(done, smooth, name=config.name, resumed=done > 0)
    say(f"{export.summary(network)}; {steps} steps, {f'going on after step {done}' if done else 'from the start'}")

    def predict(noisy: Tensor, timesteps: Tensor, text: Embedding, sizes: Tensor) -> Tensor:
        """What the UNet says of noisy latents; SDXL is told the pictures' sizes too."""
        added = {}
        if text.pooled is not None:
            added = {"added_cond_kwargs": {"text_embeds": text.pooled, "time_ids": sizes}}
        with compute:
            said: Tensor = forward(noisy.to(dtype), timesteps, text.hidden.to(dtype), return_dict=False, **added)[0]
        return said

    def loss_of(batch: Batch, source: Prepared, timestep: int | None = None) -> Tensor:
        """A batch's loss; with a timestep given, one that can be compared from step to step."""
        values = _latents(batch, source, device, config.train.seed)
        if timestep is None:
            noisy = objective.noisy(values, batch.number)
        else:
            noise = torch.randn(
                values.shape, generator=draws.generator(config.train.seed, "check", batch.number, timestep)
            )
            noisy = objective.noisy_at(values, noise.to(device), torch.full(values.shape[:1], timestep, device=device))
        share = group.share(len(batch.names)) if timestep is None else None
        if share:
            if not share.weight:
                return torch.zeros((), device=device)
            batch, noisy = part(batch, share.rows), part(noisy, share.rows)
        said = predict(noisy.latents, noisy.timesteps, _embedding(batch, source, device), batch.sizes.to(device))
        mask = batch.mask.to(device) if batch.mask is not None else None
        loss = objective.loss(said, noisy, batch.weights.to(device), mask)
        return loss * share.weight if share else loss

    def write(name: str, step: int) -> str:
        """Write a LoRA file; returns its sha256."""
        values = network.tensors(state.average.values if state.average else None)
        notes = export.notes(config, base, found, prepared.digest, step, batches.per_epoch)
        path = run.output / f"{name}.safetensors"
        digest = export.write(path, network, values, notes, config.save.precision)
        progress.event("saved", step, file=path.name, sha256=digest)
        return digest

    @torch.no_grad()
    def look(step: int, *, at_samples: bool, at_validation: bool) -> None:
        """Draw pictures and measure the held-back pictures' loss; neither touches what is trained."""
        _switch((unet, *encoders), training=False)
        if at_validation and check:
            times = validation.timesteps(config.validation.timesteps)
            numbers = range(check.batches.per_epoch)
            losses = [loss_of(check.batches[number], check, time).item() for number in numbers for time in times]
            progress.validation(step, sum(losses) / len(losses))
        if at_samples and prompts:
            vae = prepared.vae or base.vae(torch.float32).to(device)
            run.samples.mkdir(exist_ok=True)
            for place, prompt in enumerate(prompts):
                picture = samples.draw(prompt, place, config, base.v_prediction, predict, prepared.encode, vae)
                path = run.samples / samples.file_name(config.name, step, place)
                picture.save(path)
                progress.event("sample", step, file=path.name, prompt=prompt.text)
        _switch((unet, *encoders), training=True)

    # The loop. A loss is read one step late, so that a GPU never waits for Python.
    group.begin(state.parameters)
    if done == 0 and group.writes and (config.sample.at_first or check):
        look(0, at_samples=config.sample.at_first, at_validation=True)
    accumulation = config.train.accumulation
    numbers = iter(batches.loader(group.numbers(done * accumulation, steps * accumulation)))
    text_steps = math.ceil(config.network.text_encoder_until * steps)
    late: tuple[int, Tensor, dict[str, float]] | None = None
    state.begin()
    for step in range(done + 1, steps + 1):
        if step > text_steps:
            _freeze(network.text)
        losses = []
        for _ in range(group.passes(accumulation)):
            batch = next(numbers)
            _seed_dropout(config, batch.number)
            loss = loss_of(batch, prepared) / accumulation
            if loss.requires_grad:
                state.scaler.scale(loss).backward()
            losses.append(loss.detach())
        total, asked = group.meet(state.parameters, torch.stack(losses).sum(), stop.asked)
        rates = state.rates()
        state.step()
        if late:
            _report(progress, *late)
        late = (step, total, rates)

        pause = asked and step < steps
        if pause or due.any(step):
            _report(progress, *late)
            late = None
        if group.writes and (pause or due.any(step)):
            with state.in_use():
                if name := due.file(step):
                    write(name, step)
                    milestones.forget_old_files(run.output, config.name, config.save.keep)
                look(step, at_samples=due.samples(step), at_validation=due.validation(step))
            if pause or due.checkpoint(step):
                # Last, so that a run killed before it makes the files above again.
                state.keep(run, step, fingerprint, progress.smooth)
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
        "seconds": round(time.time() - began, 1),
        "checkpoint_sha256": prepared.digest,
    }
    progress.event("end", steps, loss=progress.smooth, file=result["file"], sha256=digest)
    progress.close()
    return result


def _latents(batch: Batch, prepared: Prepared, device: torch.device, seed: int) -> Tensor:
    if batch.latents is not None:
        return batch.latents.to(device, non_blocking=True)
    assert batch.pixels is not None
    places = [f"{seed}/{batch.number}/{index}" for index in range(len(batch.names))]
    return latents.encode(prepared.vae, batch.pixels, places)


def _embedding(batch: Batch, prepared: Prepared, device: torch.device) -> Embedding:
    if batch.hidden is not None:
        pooled = batch.pooled.to(device, non_blocking=True) if batch.pooled is not None else None
        return Embedding(batch.hidden.to(device, non_blocking=True), pooled)
    assert prepared.text is not None
    return prepared.text.encode(batch.captions)


def _report(progress: Progress, step: int, loss: Tensor, rates: dict[str, float]) -> None:
    value = loss.item()
    if not math.isfinite(value):
        progress.event("error", step, message=f"the loss is {value}")
        raise TrainingError(
            f"the loss became {value} at step {step}; training stopped, the last checkpoint is kept. "
            "Try a lower learning rate, bf16 or fp32 instead of fp16, or max_grad_norm = 1"
        )
    progress.step(step, value, rates)


def _seed_dropout(config: Config, number: int) -> None:
    """Dropout draws from torch's global generator: give it a place of its own in every forward pass."""
    network = config.network
    if network.dropout or network.rank_dropout or network.module_dropout:
        torch.manual_seed(draws.key(config.train.seed, "dropout", number))


def _freeze(layers: Sequence[networks.Layer]) -> None:
    for layer in layers:
        for parameter in layer.parts.values():
            parameter.requires_grad_(False)


def _switch(models: Sequence[nn.Module], training: bool) -> None:
    for model in models:
        model.train(training)


def _set_up(config: Config, unet: nn.Module, encoders: Sequence[nn.Module]) -> None:
    """Attention, memory and layout, as the config says."""
    settings, model = config.train, unet
    _switch((unet, *encoders), training=True)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()  # type: ignore[operator]
        for encoder in encoders:
            encoder.gradient_checkpointing_enable()  # type: ignore[operator]
    if settings.attention == "plain":
        from diffusers.models.attention_processor import AttnProcessor

        model.set_attn_processor(AttnProcessor())  # type: ignore[operator]
    elif settings.attention == "xformers":
        try:
            model.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
        except (ImportError, ValueError) as error:
            raise InputError(f"train.attention: xformers cannot be used ({error}); sdpa is as fast") from error
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _ticker(stop: Stop, say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """Reports a phase of preparation every few seconds, and lets it be interrupted."""
    last = time.monotonic()

    def tick(phase: str, done: int, todo: int) -> None:
        nonlocal last
        stop.check()
        if done == todo or time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{phase}: {done}/{todo}")

    return tick
