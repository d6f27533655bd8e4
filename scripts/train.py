#!/usr/bin/env python3
"""Train a story-teller on what prepare.py wrote.

    python scripts/train.py build/data --out build/run             # start
    python scripts/train.py build/data --out build/run --resume    # go on after an interruption

The model is the Llama of llama2.c: RMSNorm, rotary positions on neighbouring pairs, SwiGLU, tied
embeddings, no biases. It trains on a CPU or a GPU, and a run may move from one to the other.

RUN/checkpoint.pt is written every few minutes, RUN/trunk.pt once, just before the learning rate
starts to fall: to train longer, copy trunk.pt over checkpoint.pt and resume with more --steps.
RUN/loss.csv and RUN/loss.png show the curve. The end of a run, or --export-only, writes model.bin
(llama2.c's format), tokenizer.model, meta.txt and, with duostory installed, model.gguf and model.duo.
"""

import argparse
import csv
import datetime
import json
import math
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from torch.nn import functional as F

from prepare import BOS, EOS, SEPARATOR, UNK


@dataclass(frozen=True)
class Config:
    # the model: 5.0 million weights with the defaults, 5.7 MB as int8 with a scale for every 32
    dim: int = 256
    hidden: int = 640
    layers: int = 6
    heads: int = 4
    # the schedule
    steps: int = 2600
    batch: int = 8  # windows; with 512 tokens each a step sees 4096 tokens
    warmup: int = 100
    decay: float = 0.5  # the last part of the run, in which the learning rate falls to zero
    # the optimizer: Muon for the matrices inside the layers, AdamW for embedding and norms
    matrix_rate: float = 0.015
    rate: float = 3e-3
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0  # worth its time only when the text is seen more than five times
    seed: int = 1
    # the log
    eval_every: int = 250
    checkpoint_minutes: float = 5.0


# ---------------------------------------------------------------------------------------------
# The model


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, eps=1e-5)


def rotate(x, cos, sin):
    """Rotary positions: turn each pair of neighbours (x0, x1) by an angle that grows with time."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, hidden = config.dim, config.hidden
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm, self.feed_norm = RMSNorm(dim), RMSNorm(dim)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.w1 = nn.Linear(dim, hidden, bias=False)  # gate
        self.w2 = nn.Linear(hidden, dim, bias=False)  # down
        self.w3 = nn.Linear(dim, hidden, bias=False)  # up

    def forward(self, x, cos, sin, hidden):
        def split(y):  # (batch, time, dim) -> (batch, heads, time, head size)
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        h = self.attention_norm(x)
        q, k, v = split(self.wq(h)), split(self.wk(h)), split(self.wv(h))
        # The plain formula, compiled, is 18 % faster here than PyTorch's fused attention on a CPU.
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1, dtype=torch.float32).to(v.dtype)
        y = (weights @ v).transpose(1, 2).flatten(-2)
        x = x + F.dropout(self.wo(y), self.dropout, self.training)
        h = self.feed_norm(x)
        y = self.w2(F.silu(self.w1(h)) * self.w3(h))
        return x + F.dropout(y, self.dropout, self.training)


class Llama(nn.Module):
    def __init__(self, config, vocabulary, window):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.dim)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim)
        head = config.dim // config.heads
        frequency = 10000.0 ** (-torch.arange(0, head, 2) / head)
        angle = torch.outer(torch.arange(window), frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                # What is added to the residual stream starts smaller, the more layers add to it.
                adds = name.endswith(("wo.weight", "w2.weight"))
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * config.layers) if adds else 1))

    def forward(self, tokens, targets=None):
        """Logits, or with targets the sum of the cross-entropy in nats; padding does not count."""
        time = tokens.shape[1]
        # A token sees what stands before it in its own story, as when a story is told. Where in the window the story
        # stands does not matter: only distances enter into rotary positions.
        story = (tokens == BOS).cumsum(1)
        other = story[:, None, :, None] != story[:, None, None, :]
        hidden = other | torch.ones(time, time, dtype=torch.bool, device=tokens.device).triu(1)
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:time], self.sin[:time], hidden)
        logits = F.linear(self.norm(x), self.embedding.weight)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNK, reduction="sum")


# ---------------------------------------------------------------------------------------------
# Training


def load_windows(path):
    return torch.from_numpy(np.load(path).astype(np.int32))


def batch_after(windows, seen, config):
    """The windows that follow on `seen` others; the same whether the run was interrupted or not."""
    epoch, place = divmod(seen, len(windows) - config.batch + 1)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(config.seed + epoch))
    return windows[order[place : place + config.batch]].long().unbind(1)


def rate_at(step, config):
    """Share of the full learning rate: a ramp up, a plateau, a straight fall to zero."""
    falling = (config.steps - step) / (config.decay * config.steps)
    return min(1.0, (step + 1) / config.warmup, falling)


def make_optimizers(model, config):
    matrices = [w for w in model.layers.parameters() if w.dim() == 2]
    norms = [w for w in model.parameters() if w.dim() == 1]
    # Muon makes every update orthogonal: on a text as small as ours it learns more from each pass.
    muon = torch.optim.Muon(matrices, lr=config.matrix_rate, weight_decay=config.weight_decay)
    adam = torch.optim.AdamW(
        [
            {"params": [model.embedding.weight], "weight_decay": config.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ],
        lr=config.rate,
        betas=(0.9, 0.95),
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return muon, adam


@torch.no_grad()
def mean_loss(model, windows, device):
    """Nats per token."""
    model.eval()
    nats = count = 0
    for some in windows.split(16):
        tokens, targets = some.long().to(device).unbind(1)
        with torch.autocast(device, torch.bfloat16):
            nats += model(tokens, targets).item()
        count += (targets != UNK).sum().item()
    model.train()
    return nats / count


def save(path, model, optimizers, step, seen, config):
    state = {
        "config": asdict(config),
        "step": step,
        "seen": seen,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    # Write and rename, so that a power cut leaves the last checkpoint whole.
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def train(model, optimizers, first_step, seen, config, data, run, device):
    """Goes on after `first_step` steps and `seen` windows; returns how many windows have been seen in the end."""
    windows, val_windows = load_windows(data / "train.npy"), load_windows(data / "val.npy")
    compiled = torch.compile(model)
    parameters = list(model.parameters())
    saved = logged = time.time()
    tokens_since = 0  # the last line of the log
    for step in range(first_step, config.steps):
        if step == round(config.steps * (1 - config.decay)):
            save(run / "trunk.pt", model, optimizers, step, seen, config)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_rate"] * rate_at(step, config)
            optimizer.zero_grad(set_to_none=True)
        tokens, targets = (part.to(device) for part in batch_after(windows, seen, config))
        count = (targets != UNK).sum()
        with torch.autocast(device, torch.bfloat16):
            loss = compiled(tokens, targets) / count
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.clip)
        for optimizer in optimizers:
            optimizer.step()

        seen += config.batch
        tokens_since += count.item()
        last = step + 1 == config.steps
        if (step + 1) % 25 == 0 or last:
            due = (step + 1) % config.eval_every == 0 or last
            val = mean_loss(model, val_windows, device) if due else None
            log(run / "loss.csv", step + 1, loss.item(), val, tokens_since / (time.time() - logged))
            tokens_since, logged = 0, time.time()
        if time.time() - saved > 60 * config.checkpoint_minutes or last:
            save(run / "checkpoint.pt", model, optimizers, step + 1, seen, config)
            saved = time.time()
    return seen


def log(path, step, loss, val, speed):
    row = [step, f"{loss:.4f}", f"{val:.4f}" if val else "", f"{speed:.0f}"]
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        if fresh:
            csv.writer(file).writerow(["step", "loss", "val_loss", "tokens_per_second"])
        csv.writer(file).writerow(row)
    print("step {} loss {} val {} at {} tokens/s".format(*row), flush=True)


def forget_after(path, step):
    """Drop the rows that a run logged after its last checkpoint; it is about to repeat them."""
    if path.exists():
        head, *rows = path.read_text().splitlines()
        kept = [row for row in rows if int(row.split(",")[0]) <= step]
        path.write_text("\n".join([head, *kept]) + "\n")


def plot(run):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = list(csv.DictReader((run / "loss.csv").open()))
    measured = [row for row in rows if row["val_loss"]]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot([int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], label="training", alpha=0.5)
    axes.plot([int(r["step"]) for r in measured], [float(r["val_loss"]) for r in measured], "o-", label="validation")
    axes.set(xlabel="step", ylabel="nats per token", ylim=(1, 3))
    axes.legend()
    figure.savefig(run / "loss.png", dpi=120)
    pyplot.close(figure)


# ---------------------------------------------------------------------------------------------
# What comes out


@torch.no_grad()
def bits_per_character(model, tokenizer, stories, window, device):
    """On plain stories, each from its BOS to the BOS that closes it; what is too long is cut."""
    windows, characters = torch.full((len(stories), 2, window), UNK), 0
    for (seen, foreseen), story in zip(windows, stories):
        tokens = tokenizer.encode(story)[:window]
        characters += len(tokenizer.decode(tokens))
        seen[: len(tokens) + 1] = torch.tensor([BOS, *tokens])[:window]
        foreseen[: len(tokens) + 1] = torch.tensor([*tokens, BOS])[:window]
    count = (windows[:, 1] != UNK).sum().item()
    return mean_loss(model, windows, device) * count / characters / math.log(2)


@torch.no_grad()
def tell(model, tokenizer, prompt, window, device, seed, temperature=0.8, top_p=0.9):
    """One story, without a key-value cache: slow, but the same few lines as in training."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [BOS] + (tokenizer.encode(prompt) if prompt else [])
    model.eval()
    while len(tokens) < window:
        logits = model(torch.tensor([tokens], device=device))[0, -1].float().cpu()
        chances, order = (logits / temperature).softmax(-1).sort(descending=True)
        kept = int((chances.cumsum(-1) < top_p).sum()) + 1
        token = order[torch.multinomial(chances[:kept], 1, generator=generator)].item()
        if token in (BOS, EOS):
            break
        tokens.append(token)
    return tokenizer.decode(tokens[1:]), len(tokens)


def write_llama2c(model, config, vocabulary, window, path):
    """llama2.c's first format ("version 0"): seven numbers, then every tensor as float32."""
    layers = model.layers
    tensors = [model.embedding.weight]
    tensors += [layer.attention_norm.weight for layer in layers]
    tensors += [getattr(layer, name).weight for name in ("wq", "wk", "wv", "wo") for layer in layers]
    tensors += [layer.feed_norm.weight for layer in layers]
    tensors += [getattr(layer, name).weight for name in ("w1", "w2", "w3") for layer in layers]
    tensors += [model.norm.weight]
    with path.open("wb") as file:
        heads = config.heads
        # A positive vocabulary says that the classifier is the embedding.
        file.write(struct.pack("<7i", config.dim, config.hidden, config.layers, heads, heads, vocabulary, window))
        for tensor in tensors:
            file.write(tensor.detach().float().cpu().numpy().astype("<f4").tobytes())
        # Two tables of angles that run.c skips and computes itself.
        file.write(bytes(4 * window * (config.dim // heads)))


def export(model, config, step, seen, data, run, device):
    tokenizer = SentencePieceProcessor(model_file=str(data / "tokenizer.model"))
    stats = json.loads((data / "stats.json").read_text())
    window = stats["config"]["window"]
    write_llama2c(model, config, len(tokenizer), window, run / "model.bin")
    shutil.copy(data / "tokenizer.model", run / "tokenizer.model")

    val_loss = mean_loss(model, load_windows(data / "val.npy"), device)
    stories = [story.strip() for story in (data / "val.txt").read_text().split(SEPARATOR)]
    bits = bits_per_character(model, tokenizer, stories, window, device)
    passes = seen * stats["train"]["passes"] / stats["train"]["windows"]
    weights = sum(weight.numel() for weight in model.parameters())
    meta = {
        "title": "Bedtime stories",
        "wish_template": stats["wish_template"].replace("\n", "\\n"),
        "wish_long": stats["long_mark"],
        "provenance": "weights trained from scratch by the duostory authors, MIT; "
        "text: TinyStories, CDLA-Sharing-1.0 (" + ", ".join(stats["texts"]) + ")",
        "trained": f"{step} steps, {seen} windows of {window} tokens, {passes:.1f} passes over the text",
        "weights": weights,
        "val_loss": f"{val_loss:.4f} nats per token",
        "val_bits_per_character": f"{bits:.4f}",
        "date": datetime.date.today().isoformat(),
    }
    (run / "meta.txt").write_text("".join(f"{key}: {value}\n" for key, value in meta.items()))
    print((run / "meta.txt").read_text())

    # By way of GGUF, which has scales in half precision: so this model tells the same stories in every form.
    q8, gguf = run / "model-q8.duo", run / "model.gguf"
    for command in (
        ["convert", run / "model.bin", q8, "--tokenizer", run / "tokenizer.model", "--type", "q8"],
        ["export", q8, gguf],
        ["convert", gguf, run / "model.duo", "--meta", run / "meta.txt"],
    ):
        if subprocess.run([sys.executable, "-m", "duostory", *command]).returncode:
            print("model.duo was not written; with duostory[convert] installed, --export-only tries again")
            break

    prompts = ["", "", "Once upon a time, there was a dragon", "One day, a girl named Lucy found a robot"]
    wishes = ["dragon, dark", "robot, cat", "Clara, moon, boat", "penguin"]
    prompts += [stats["wish_template"].format(subjects=wish) for wish in wishes]
    for seed, prompt in enumerate(prompts):
        story, length = tell(model, tokenizer, prompt, window, device, seed)
        print(f"--- seed {seed}, {length} tokens, prompt {prompt!r}\n{story}\n", flush=True)


# ---------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that prepare.py wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/checkpoint.pt")
    parser.add_argument("--export-only", action="store_true", help="write the files of the last checkpoint")
    for field in fields(Config):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=field.type, help=f"default {field.default}")
    args = parser.parse_args()
    given = {f.name: getattr(args, f.name) for f in fields(Config) if getattr(args, f.name) is not None}
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    checkpoint = args.out / "checkpoint.pt"
    state = None
    if args.resume or args.export_only:
        state = torch.load(checkpoint, map_location=device)
        given = state["config"] | given
    elif checkpoint.exists():
        sys.exit(f"{checkpoint} exists; give --resume or another --out")
    config = Config(**given)

    torch.manual_seed(config.seed)
    stats = json.loads((args.data / "stats.json").read_text())["config"]
    model = Llama(config, stats["vocabulary"], stats["window"]).to(device)
    optimizers = make_optimizers(model, config)
    step = seen = 0
    if state:
        step, seen = state["step"], state["seen"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
    forget_after(args.out / "loss.csv", step)

    if not args.export_only:
        print(f"{sum(w.numel() for w in model.parameters()):,} weights on {device}, {config}")
        seen = train(model, optimizers, step, seen, config, args.data, args.out, device)
        step = config.steps
        plot(args.out)
    export(model, config, step, seen, args.data, args.out, device)


if __name__ == "__main__":
    main()
