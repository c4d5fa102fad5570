"""The recipe: from a config to a LoRA file, top to bottom.

One loop serves all families; the differences (how prompts are encoded, which conditions the UNet takes, how layers are
named) are in training.base, training.data.text and training.lora.naming.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from training.base import fp8
from training.base.loading import BaseModel
from training.config import Config
from training.data import pictures, prompts
from training.data.order import run_length
from training.data.text import Embedding
from training.errors import TrainingError
from training.loop import capture, determinism, intervals, model_options, samples, validation
from training.loop.cuda_graphs import CudaGraphs
from training.loop.deferred_report import DeferredReport
from training.loop.distributed import ProcessGroup
from training.loop.fingerprint import fingerprint
from training.loop.inputs import InputBuilder, Inputs
from training.loop.objective import Objective
from training.loop.precision import OverflowCounter
from training.loop.prepare import DTYPES, device_of, encodes_along, prepare
from training.loop.progress import Progress, ticker
from training.loop.train_state import TrainState
from training.lora import ema, export
from training.lora import network as networks
from training.run_folder import RunFolder
from training.signals import Interrupted, Stop


def train(
    config: Config,
    run: RunFolder,
    stop: Stop,
    say: Callable[[str], None],
    group: ProcessGroup,
    restored: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train to the end, from the folder's last checkpoint if there is one; returns the result for the record.

    `group` are the processes that share the run. `restored` is called when this trainer has read the folder's
    checkpoint, if there is one, and before it writes another.

    Raises Interrupted after writing a checkpoint if `stop` is set, InputError if an input must be fixed, TrainingError
    if training fails.
    """
    began = time.time()
    group.require_same("train.precision", config.train.precision)

    # The base model and the data: pictures and captions are encoded once.
    base = BaseModel(config.model)
    seed = config.train.seed
    found, held = validation.hold_back(config.validation, config.held_back, seed, pictures.find_pictures(config.data))
    drawn = prompts.sample_prompts(config.sample, config.data.resolution, seed)
    say(f"{config.model.checkpoint.name}: {base.family}; {len(found)} pictures, {len(held)} more held back")
    for remark in base.remarks(config.objective.zero_terminal_snr):
        say(remark)
    tick = ticker(stop, say)
    texts = [*prompts.prompt_texts(drawn), *(picture.caption for picture in held)]
    device, dtype = device_of(config.train.device), DTYPES[config.train.precision]
    trains_text = config.network.text_encoder
    with group.prepare_in_turn():
        prepared = prepare(
            config.data,
            config.train,
            base,
            found,
            run,
            tick,
            texts,
            along=encodes_along(config.data, device, group.world_size),
            trains_text=trains_text,
            prior_weight=config.objective.prior_loss_weight,
        )
        check = None
        if held:
            still = validation.encoding_settings(config.data)
            check = prepare(
                still, config.train, base, held, run, tick, (), prepared.text, along=False, trains_text=trains_text
            )
    batches = prepared.batches
    steps, per_epoch = run_length(config.train, batches.per_epoch)

    # The network: a frozen UNet and frozen text encoders with trained low-rank layers inside.
    unet = base.unet(dtype).to(device)
    encoders = prepared.text.encoders if prepared.text and trains_text else []
    network = networks.attach(config.network, seed, base.family, unet if config.network.unet else None, encoders)
    if config.network.start_from:
        ema.start_from(network, config.network.start_from)
    if not config.train.full_precision:
        network.to(dtype)
    if config.model.storage == "fp8":
        fp8.convert_to_fp8(unet)
    model_options.configure_models(config.train, device, unet, encoders, say)
    forward: Any = torch.compile(unet) if config.train.compile else unet
    compute: Any = contextlib.nullcontext()
    if dtype in (torch.float16, torch.bfloat16):
        # Without a cache of weights in half precision: a captured pass must not use what another one cast.
        compute = torch.autocast(device.type, dtype, cache_enabled=False)

    # Objective, optimiser and state, restored from the last checkpoint if there is one.
    objective = Objective(config.objective, base.v_prediction, seed, device)
    state = TrainState.make(
        config.optimizer, config.schedule, config.train, network, device, steps, config.network.max_norm
    )
    decisive = fingerprint(config, prepared.content, base.family)
    done, counted = state.restore(run, decisive, group)
    if restored:
        restored()
    overflows = OverflowCounter(config.train, config.optimizer)
    if counted:
        overflows.restore(counted["overflow"])
    due = intervals.Intervals(config.name, config.save, config.sample, config.validation, steps, per_epoch)
    board = run.tensorboard if config.log.tensorboard and group.writes else None
    progress = Progress(run.log, steps, per_epoch, config.log.every_steps, board, shown=group.writes)
    progress.start(done, counted.get("smooth"), name=config.name, resumed=done > 0, precision=config.train.precision)
    resumed = f"going on after step {done}" if done else "from the start"
    say(f"{export.network_summary(network)}; {config.train.precision}; {steps} steps, {resumed}")

    def predict(noisy: Tensor, timesteps: Tensor, text: Embedding, sizes: Tensor) -> Tensor:
        """The UNet's prediction; SDXL's is also conditioned on the pictures' sizes."""
        added = {}
        if text.pooled is not None:
            added = {"added_cond_kwargs": {"text_embeds": text.pooled, "time_ids": sizes}}
        with compute:
            found: Tensor = forward(noisy.to(dtype), timesteps, text.hidden.to(dtype), return_dict=False, **added)[0]
        return found

    def loss_of(inputs: Inputs) -> Tensor:
        noisy = objective.noisy(inputs.latents, inputs)
        prediction = predict(noisy.latents, noisy.timesteps, inputs.embedding, inputs.sizes)
        return objective.loss(prediction, noisy, inputs.weights, inputs.mask) * inputs.share

    def learn(inputs: Inputs) -> Tensor:
        """Add the gradients of a pass; returns its part of the step's loss. Never waits for the GPU."""
        if not inputs.share:
            return torch.zeros((), device=device)
        loss = loss_of(inputs) / accumulation
        if loss.requires_grad:
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def write(name: str, step: int) -> str:
        """Write a LoRA file; returns its sha256."""
        values = network.tensors(state.average.values if state.average else None)
        notes = export.lora_metadata(config, base, found, prepared.digest, step, batches.per_epoch)
        path = run.output / f"{name}.safetensors"
        digest = export.export_lora(path, values, notes, config.save.precision)
        progress.event("saved", step, file=path.name, sha256=digest)
        return digest

    @torch.no_grad()
    def evaluate(step: int, *, at_samples: bool, at_validation: bool) -> None:
        """Draw sample pictures and measure the validation loss, without changing the state of training."""
        model_options.set_training_mode((unet, *encoders), training=False)
        if at_validation and check:
            times = validation.validation_timesteps(config.validation.timesteps)
            numbers = range(check.batches.per_epoch)
            inputs = (feed.for_validation(check.batches[number], check, time) for number in numbers for time in times)
            losses = [loss_of(one.to(device)).item() for one in inputs]
            progress.validation(step, sum(losses) / len(losses))
        if at_samples and drawn:
            passes.free_memory()
            vae = prepared.vae or base.vae(torch.float32).to(device)
            run.samples.mkdir(exist_ok=True)
            for place, prompt in enumerate(drawn):
                picture = samples.draw_sample(prompt, base.v_prediction, predict, prepared.encode, vae)
                path = run.samples / samples.sample_file_name(config.name, step, place)
                picture.save(path)
                progress.event("sample", step, file=path.name, prompt=prompt.text)
        model_options.set_training_mode((unet, *encoders), training=True)

    # Passes are captured into CUDA graphs where possible.
    accumulation = config.train.accumulation
    group.broadcast_weights(state.parameters)
    feed = InputBuilder(objective, device, seed, group)
    reason = capture.why_not_captured(config.network, config.train, device, group.world_size)
    shapes = (
        capture.shapes_to_capture(batches, steps * accumulation, every=config.train.capture == "on")
        if not reason
        else []
    )

    def give_up(sentence: str) -> None:
        """Passes could not be captured again after pictures were drawn."""
        if config.train.capture == "on":
            raise TrainingError(
                f'train.capture = "on" failed: {sentence}; the last checkpoint is kept; set it to "auto"'
            )
        progress.event("passes", step, how=sentence)
        say(sentence)

    passes = capture.make_passes(
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
        evaluate(0, at_samples=config.sample.at_first, at_validation=True)
    numbers = iter(batches.loader(group.batch_numbers(done * accumulation, steps * accumulation)))
    text_steps = math.ceil(config.network.text_encoder_until * steps)
    late = DeferredReport(device, functools.partial(_report, progress, overflows))
    state.start()
    for step in range(done + 1, steps + 1):
        if step > text_steps:
            model_options.freeze(network.text)
        losses = []
        for _ in range(group.passes_per_step(accumulation)):
            batch = next(numbers)
            model_options.seed_dropout(config.network, seed, batch.number)
            losses.append(passes(feed(batch, prepared)))
        total, asked = group.all_reduce(state.parameters, torch.stack(losses).sum(), stop.asked)
        rates = state.rates()
        overflowed = state.step()
        late.add(step, torch.stack([total, overflowed.to(total)]), rates)

        pause = asked and step < steps
        if pause or due.any(step):
            late.flush()
        if group.writes and (pause or due.any(step)):
            with state.evaluation_weights():
                if name := due.file(step):
                    write(name, step)
                    intervals.remove_old_files(run.output, config.name, config.save.keep)
                evaluate(step, at_samples=due.samples(step), at_validation=due.validation(step))
            if pause or due.checkpoint(step):
                # Written last: a run that is killed before this writes the files above again.
                counters = {"smooth": progress.smooth, "overflow": overflows.state()}
                state.save(run, step, decisive, counters, config.save.keep_checkpoints)
        if pause:
            progress.event("stopped", step)
            progress.close()
            raise Interrupted

    # The result.
    digest = ""
    if group.writes:
        with state.evaluation_weights():
            digest = write(config.name, steps)
    result = {
        "file": f"{config.name}.safetensors",
        "sha256": digest,
        "steps": steps,
        "loss": progress.smooth,
        "skipped_steps": overflows.skipped,
        "seconds": round(time.time() - began, 1),
        "checkpoint_sha256": prepared.digest,
        "passes": passes.sentence,
        "kernels": determinism.torch_flags(),
    }
    progress.event("end", steps, loss=progress.smooth, file=result["file"], sha256=digest)
    progress.close()
    return result


def _report(progress: Progress, overflows: OverflowCounter, step: int, values: Tensor, rates: dict[str, float]) -> None:
    """`values` are the step's loss and whether its gradients overflowed."""
    loss, overflowed = values.tolist()
    try:
        overflows.record(step, loss, bool(overflowed))
    except TrainingError:
        progress.event("error", step, message=f"the loss is {loss}")
        raise
    progress.step(step, loss, rates, overflows.skipped)
