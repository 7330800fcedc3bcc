#!/usr/bin/env python3
"""Train the demo model: a very small Gemma that writes English fairy tales.

The file is meant to be read from top to bottom:

    1. the text        read the tales, clean them, keep some apart
    2. the tokenizer   SentencePiece BPE with Gemma's settings and Gemma's first ids
    3. the model       Gemma 1 as published: RMSNorm (1 + w), RoPE, multi-query attention, GeGLU, tied embeddings
    4. training        AdamW, warm-up and cosine, dropout, averaged weights; can be stopped and run again
    5. evaluation      loss on held-out tales, on the weights as they are stored (rounded to bfloat16)
    6. export          a directory in Hugging Face layout, and goldens to test another implementation with

Usage:
    train.py                      train (continues from the last checkpoint in --work)
    train.py --export             write --work/export and the goldens again from the best weights
    train.py --sample "Once upon a time"
    train.py --check DIR          compare this forward pass with DIR/goldens.json (a Gemma checkpoint in HF layout)
"""
import argparse
import gzip
import hashlib
import json
import math
import os
import platform
import random
import re
import shutil
import struct
import time

import sentencepiece as spm
import torch
import torch.nn as nn
import torch.nn.functional as F

PAD, EOS, BOS = 0, 1, 2


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tales", default="tales", help="folder with tales.jsonl.gz and tales-heldout.jsonl.gz")
    p.add_argument("--work", default="work", help="folder for everything that is written")
    p.add_argument("--seed", type=int, default=1)
    # model
    p.add_argument("--vocab", type=int, default=4096)
    p.add_argument("--hidden", type=int, default=256)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, default=1)
    p.add_argument("--head-dim", type=int, default=64)
    p.add_argument("--intermediate", type=int, default=768)
    # training
    p.add_argument("--context", type=int, default=512)
    p.add_argument("--batch", type=int, default=8, help="windows of --context tokens in one step")
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--warmup", type=int, default=200)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--min-lr", type=float, default=2e-5)
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--dropout", type=float, default=0.1)
    p.add_argument("--average", type=float, default=0.998, help="decay of the running average of the weights")
    p.add_argument("--eval-every", type=int, default=250)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--minutes", type=float, default=0,
                   help="end after so many minutes of training instead of --steps; the learning rate follows the clock")
    # other things to do
    p.add_argument("--stop-after", type=int, default=0, help="stop after so many steps of this run (for timing)")
    p.add_argument("--export", action="store_true")
    p.add_argument("--sample", metavar="PROMPT")
    p.add_argument("--tokens", type=int, default=200)
    p.add_argument("--temperature", type=float, default=0.7)
    p.add_argument("--top-k", type=int, default=40)
    p.add_argument("--check", metavar="DIR")
    return p.parse_args()


# ---------------------------------------------------------------------------------------------- 1. the text

def clean(text):
    """One tale as plain paragraphs separated by newlines, without footnotes, their marks and source notes."""
    keep = []
    for line in text.split("\n"):
        line = re.sub(r"\s*[(\[]\d+[)\]]\s*$", "", line)                   # a footnote mark at the end of a paragraph
        line = re.sub(r"(?<=[a-z.,;!?'\"])\s?\(\d+\)", "", line)           # or inside one
        line = line.replace("`", "'").strip()
        if re.match(r"[(\[]\d+[)\]]|\*|\[?(From|Adapted|Translated|Taken|Source|Parallels|Remarks|Story from)\b[^']{0,120}\]?$", line):
            continue                                                       # the footnote itself, or where the tale is from
        line = re.sub(r"\s*\[[^\]]*\]", "", line)                          # an editor's remark
        line = re.sub(r"\s+", " ", line).strip()
        if re.search(r"[A-Za-z]", line):
            keep.append(line)
    return "\n".join(keep)


def wanted(text):
    """False for tables of contents, notes of the editors and licences that slipped in among the tales."""
    if len(text) < 600:
        return False
    if re.search(r"^(Sources?|Parallels|Remarks)\.", text, re.M):
        return False
    if re.search(r"gutenberg|e-?texts?\b|ebook|https?:|copyright", text, re.I):
        return False
    return len(re.findall(r"\d", text)) < len(text) / 300


def read_tales(path):
    rows = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    texts = [clean(row["text"]) for row in rows]
    return [t for t in texts if wanted(t)], [r["title"] for r, t in zip(rows, texts) if not wanted(t)]


# ----------------------------------------------------------------------------------------- 2. the tokenizer

def train_tokenizer(texts, vocab, path):
    """4096 pieces in the order of Gemma's own vocabulary: 0..6 special, 7..105 unused, 106 and 107 the turn markers,
    108 a newline (then a few runs of newlines and spaces), the 256 bytes, the learned merges, single characters."""
    special = ["<mask>", "<2mass>", "[@BOS@]"] + ["<unused%d>" % i for i in range(99)]
    special += ["<start_of_turn>", "<end_of_turn>"] + ["\n" * n for n in (1, 2, 3, 4)] + ["\u2581" * n for n in (2, 3, 4, 8)]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts for line in text.split("\n")]), model_prefix=path[:-len(".model")],
        model_type="bpe", vocab_size=vocab, byte_fallback=True, character_coverage=0.9999, split_digits=True,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, max_sentence_length=100000, num_threads=1, minloglevel=2,
        pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols=special)
    os.remove(path[:-len(".model")] + ".vocab")
    sp = spm.SentencePieceProcessor(model_file=path)
    want = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>", 5: "<2mass>", 6: "[@BOS@]", 7: "<unused0>",
            106: "<start_of_turn>", 107: "<end_of_turn>", 108: "\n"}
    assert sp.vocab_size() == vocab and all(sp.id_to_piece(i) == piece for i, piece in want.items())
    for text in texts[:20] + ["  two  spaces\n\n\u00e9\u4e2d 123 <start_of_turn>user\n"]:
        assert sp.decode(sp.encode(text)) == text
    return sp


# --------------------------------------------------------------------------------------------- 3. the model

def rms_norm(x, weight, eps):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (1.0 + weight)


class Norm(nn.Module):
    """x / rms(x) * (1 + weight): Gemma stores the weight minus one."""

    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.zeros(size)), eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


def rotate(x, cos, sin):
    """Rotary positions: dimension i turns together with dimension i + head_dim / 2."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d = c["hidden_size"], c["head_dim"]
        self.heads, self.kv_heads, self.d = c["num_attention_heads"], c["num_key_value_heads"], d
        self.q_proj = nn.Linear(h, self.heads * d, bias=False)
        self.k_proj = nn.Linear(h, self.kv_heads * d, bias=False)
        self.v_proj = nn.Linear(h, self.kv_heads * d, bias=False)
        self.o_proj = nn.Linear(self.heads * d, h, bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.d).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.kv_heads, self.d).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.d).transpose(1, 2)
        q, k = rotate(q, cos.to(q.dtype), sin.to(q.dtype)), rotate(k, cos.to(q.dtype), sin.to(q.dtype))
        group = self.heads // self.kv_heads                                # query heads that share one key and value head
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        scores = (q @ k.transpose(-1, -2)) / math.sqrt(self.d)
        mask = torch.full((t, t), float("-inf"), dtype=scores.dtype).triu(1)  # no position sees a later one
        y = (scores + mask).softmax(-1) @ v
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, m = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(h, m, bias=False)
        self.up_proj = nn.Linear(h, m, bias=False)
        self.down_proj = nn.Linear(m, h, bias=False)

    def forward(self, x):
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = Mlp(c)
        self.dropout = dropout

    def forward(self, x, cos, sin):
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), cos, sin), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class Gemma(nn.Module):
    """The names of the parameters are those of the Hugging Face checkpoint, less the leading `model.`."""

    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.config, self.dropout = c, dropout
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, dropout) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        inverse = 1.0 / c["rope_theta"] ** (torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        angle = torch.outer(torch.arange(c["max_position_embeddings"]).float(), inverse)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:                                               # outputs into the residual stream start smaller
                small = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c["num_hidden_layers"]) if small else 0.02)

    def forward(self, ids):
        t = ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        x = self.embed_tokens(ids) * math.sqrt(self.config["hidden_size"])
        x = F.dropout(x, self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)            # the output matrix is the embedding


def config_of(a):
    return {
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "vocab_size": a.vocab, "hidden_size": a.hidden,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads, "head_dim": a.head_dim,
        "intermediate_size": a.intermediate, "max_position_embeddings": a.context, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False,
        "attention_dropout": 0.0, "initializer_range": 0.02, "tie_word_embeddings": True, "pad_token_id": PAD,
        "eos_token_id": EOS, "bos_token_id": BOS, "torch_dtype": "bfloat16", "use_cache": True}


# ---------------------------------------------------------------------------------------------- 4. training

def windows(documents, context, seed, epoch):
    """All tales in a new order as one stream, cut from a random offset into windows of context + 1 tokens, shuffled.
    Depends only on the seed and the epoch, so that a run that was stopped goes on with the same data."""
    r = random.Random(seed * 1000003 + epoch)
    order = list(range(len(documents)))
    r.shuffle(order)
    stream = torch.cat([documents[i] for i in order])
    start = r.randrange(context)
    n = (len(stream) - 1 - start) // context
    rows = torch.stack([stream[start + i * context:start + (i + 1) * context + 1] for i in range(n)])
    order = list(range(n))
    r.shuffle(order)
    return rows[order]


def learning_rate(a, step, seconds):
    if step < a.warmup:
        return a.lr * (step + 1) / a.warmup
    f = min(1.0, seconds / 60 / a.minutes if a.minutes else (step - a.warmup) / max(1, a.steps - a.warmup))
    return a.min_lr + 0.5 * (a.lr - a.min_lr) * (1 + math.cos(math.pi * f))


def train(a, sp, documents, heldout):
    torch.manual_seed(a.seed)
    config = config_of(a)
    model = Gemma(config, a.dropout)
    average = {k: v.clone() for k, v in model.state_dict().items()}        # running average: what is evaluated and exported
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": a.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=a.lr, betas=(0.9, 0.95), eps=1e-8)
    step, spent, history, best = 0, 0.0, [], float("inf")
    state_path = os.path.join(a.work, "state.pt")
    if os.path.exists(state_path):
        s = torch.load(state_path)
        model.load_state_dict(s["model"])
        optimizer.load_state_dict(s["optimizer"])
        average, step, spent, history, best = s["average"], s["step"], s["spent"], s["history"], s["best"]
        torch.set_rng_state(s["rng"])
        print("continue at step", step, flush=True)
    else:
        print("%d parameters" % sum(p.numel() for p in model.parameters()), flush=True)

    epoch, rows, first = -1, None, step
    per_epoch = len(windows(documents, a.context, a.seed, 0)) // a.batch
    clock, losses = time.time(), []
    def elapsed():
        return spent + time.time() - clock

    def ended():
        return elapsed() >= 60 * a.minutes if a.minutes else step >= a.steps

    while not ended():
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            rows = windows(documents, a.context, a.seed, epoch)
        i = step % per_epoch
        batch = rows[i * a.batch:(i + 1) * a.batch]
        if len(batch) == 0:                                                # an epoch with one window less
            batch = rows[:a.batch]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(a, step, elapsed())
        model.train()
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(a.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - decay)
        losses.append(loss.item())
        if step % 25 == 0 or step - first == a.stop_after:
            now = elapsed()
            print("step %d epoch %.2f loss %.4f lr %.2e minutes %.1f ms/step %.0f" % (
                step, step / per_epoch, sum(losses[-25:]) / len(losses[-25:]), learning_rate(a, step, now), now / 60,
                (time.time() - clock) / (step - first) * 1000), flush=True)
        if step - first == a.stop_after:
            return
        if step % a.eval_every == 0 or ended():
            now = elapsed()
            held = evaluate(stored(config, average), heldout)[0]
            history.append({"step": step, "epoch": round(step / per_epoch, 2), "minutes": round(now / 60, 1),
                            "train": round(sum(losses[-100:]) / len(losses[-100:]), 4), "heldout": round(held, 4)})
            print("EVAL", json.dumps(history[-1]), flush=True)
            if held < best:
                best = held
                torch.save({"config": config, "weights": average, "history": history}, os.path.join(a.work, "best.pt.new"))
                os.replace(os.path.join(a.work, "best.pt.new"), os.path.join(a.work, "best.pt"))
                export(a, sp, heldout)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step,
                        "spent": now, "history": history, "best": best, "rng": torch.get_rng_state()}, state_path + ".new")
            os.replace(state_path + ".new", state_path)


# -------------------------------------------------------------------------------------------- 5. evaluation

def save_safetensors(tensors, path):
    """The format is an 8-byte length, a JSON header and the raw little-endian values."""
    header, data = {"__metadata__": {"format": "pt"}}, []
    at = 0
    for name, tensor in tensors.items():
        raw = tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + len(raw)]}
        data.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def load_safetensors(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    types = {"BF16": torch.bfloat16, "F32": torch.float32}
    return {name: torch.frombuffer(bytearray(data[8 + size:][t["data_offsets"][0]:t["data_offsets"][1]]),
                                   dtype=types[t["dtype"]]).reshape(t["shape"]).float()
            for name, t in json.loads(data[8:8 + size]).items() if name != "__metadata__"}


def stored(config, weights):
    """The model as another program will load it: weights rounded to bfloat16, computed with in float32."""
    model = Gemma(config)
    model.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in weights.items()})
    return model.eval()


@torch.no_grad()
def evaluate(model, heldout, stride=None):
    """Mean loss in nats a token over the held-out tales, each read on its own from <bos> to <eos>, and the number of
    tokens. A tale longer than the context is read in windows; with a stride, windows overlap, so that every token but the
    first few has at least context - stride tokens before it."""
    context = model.config["max_position_embeddings"]
    stride = stride or context
    rows = []
    for ids in heldout:
        done, start = 1, 0                                                 # ids[:done] are already counted (<bos> is given)
        while done < len(ids):
            end = min(start + context + 1, len(ids))
            row = torch.full((context + 1,), -100)
            row[:end - start] = ids[start:end]
            target = row.clone()
            target[:done - start] = -100
            rows.append((row.clamp(min=0), target))
            done = end
            start = start + stride
    total, count = 0.0, 0
    for i in range(0, len(rows), 8):
        row = torch.stack([r for r, _ in rows[i:i + 8]])
        target = torch.stack([t for _, t in rows[i:i + 8]])[:, 1:]
        logits = model(row[:, :-1])
        total += F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100, reduction="sum").item()
        count += (target != -100).sum().item()
    return total / count, count


@torch.no_grad()
def generate(model, ids, n, temperature, top_k, seed, stop=True):
    g, ids = torch.Generator().manual_seed(seed), list(ids)
    for _ in range(n):
        logits = model(torch.tensor([ids[-model.config["max_position_embeddings"]:]]))[0, -1]
        if temperature == 0:
            ids.append(int(logits.argmax()))
        else:
            value, index = logits.topk(top_k)
            ids.append(int(index[torch.multinomial((value / temperature).softmax(-1), 1, generator=g)]))
        if stop and ids[-1] == EOS:
            break
    return ids


def check(directory):
    """Compare with the goldens of another implementation of Gemma 1."""
    config = json.load(open(os.path.join(directory, "config.json")))
    weights = load_safetensors(os.path.join(directory, "model.safetensors"))
    model = Gemma(config)
    model.load_state_dict({k[len("model."):]: v for k, v in weights.items()})
    model.eval()
    goldens = json.load(open(os.path.join(directory, "goldens.json")))
    worst = 0.0
    with torch.no_grad():
        for p in goldens["prompts"]:
            logits = model(torch.tensor([p["ids"]]))[0]
            worst = max(worst, (logits[-1] - torch.tensor(p["last_logits"])).abs().max().item(),
                        (logits.gather(1, torch.tensor(p["top5_ids"])) - torch.tensor(p["top5_logits"])).abs().max().item())
            greedy = generate(model, p["ids"], len(p["greedy"]), 0, 0, 0, stop=False)[len(p["ids"]):]
            print("%d ids: greedy %s" % (len(p["ids"]), "equal" if greedy == p["greedy"] else "DIFFERS"))
            assert greedy == p["greedy"]
    print("largest difference of logits %.3g" % worst)
    assert worst < 1e-3


# ------------------------------------------------------------------------------------------------ 6. export

def export(a, sp, heldout, final=False):
    best = torch.load(os.path.join(a.work, "best.pt"))
    config, history = best["config"], best["history"]
    model = stored(config, best["weights"])
    context = config["max_position_embeddings"]
    out = os.path.join(a.work, "export")
    new = out + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    save_safetensors({"model." + k: v for k, v in best["weights"].items()}, os.path.join(new, "model.safetensors"))
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "do_sample": True,
                  "temperature": a.temperature, "top_k": a.top_k, "max_length": context}
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        with open(os.path.join(new, name), "w") as f:
            f.write(json.dumps(value, indent=2) + "\n")
    shutil.copy(os.path.join(a.work, "tokenizer.model"), new)

    loss, tokens = evaluate(model, heldout, context // 2)
    size = sum(len(sp.decode(ids.tolist()[1:-1]).encode()) for ids in heldout)
    facts = {"parameters": sum(p.numel() for p in model.parameters()), "step": history[-1]["step"], "epoch": history[-1]["epoch"],
             "minutes": history[-1]["minutes"], "heldout_tokens": tokens, "heldout_bytes": size,
             "heldout_nats_per_token": round(loss, 4), "heldout_perplexity": round(math.exp(loss), 2),
             "heldout_bits_per_byte": round(loss * tokens / size / math.log(2), 4)}
    prompt = [BOS] + sp.encode("Once upon a time")
    text = sp.decode(generate(model, prompt, 160, a.temperature, a.top_k, a.seed))
    with open(os.path.join(new, "README.md"), "w") as f:
        f.write(card(a, config, facts, text))
    shutil.rmtree(out + ".old", ignore_errors=True)
    if os.path.exists(out):
        os.rename(out, out + ".old")
    os.rename(new, out)
    shutil.rmtree(out + ".old", ignore_errors=True)

    with torch.no_grad():
        values, ids = model(torch.tensor([prompt]))[0, -1].topk(5)
        greedy = generate(model, prompt, 64, 0, 0, 0, stop=False)
        two = model(torch.tensor([greedy]))[0, len(prompt) - 1:-1].topk(2).values
    goldens = {"prompt": "Once upon a time", "ids": prompt, "last_logits_top5_ids": ids.tolist(), "last_logits_top5": values.tolist(),
               "greedy": greedy[len(prompt):], "greedy_text": sp.decode(greedy[len(prompt):]),
               "greedy_min_margin": (two[:, 0] - two[:, 1]).min().item(), "math": "bfloat16 weights, float32 computation",
               "weights_sha256": hashlib.sha256(open(os.path.join(out, "model.safetensors"), "rb").read()).hexdigest()}
    with open(os.path.join(a.work, "export-goldens.json.new"), "w") as f:
        f.write(json.dumps(goldens, indent=1) + "\n")
    os.replace(os.path.join(a.work, "export-goldens.json.new"), os.path.join(a.work, "export-goldens.json"))
    if final:
        print(json.dumps(facts, indent=1))
        print(json.dumps({"sizes": {n: os.path.getsize(os.path.join(out, n)) for n in sorted(os.listdir(out))}}, indent=1))
        print(text)


def card(a, c, f, text):
    """The model card."""
    return f"""---
license: apache-2.0
language: en
pipeline_tag: text-generation
---
# Demo model: fairy tales

A very small language model that writes English fairy tales. It was trained from scratch to show and test a Java library
that runs Gemma models. **It is not one of Google's Gemma models** and holds nothing of their weights or vocabulary; it only
shares the published architecture, so that everything that loads a Gemma 1 checkpoint can load it.

| | |
| --- | --- |
| architecture | Gemma 1 (`model_type: gemma`): RMSNorm with 1 + w, RoPE, multi-query attention, GeGLU, tied embeddings |
| parameters | {f["parameters"]:,}, stored in BF16 |
| shape | {c["num_hidden_layers"]} layers, hidden {c["hidden_size"]}, {c["num_attention_heads"]} heads and {c["num_key_value_heads"]} key/value head of {c["head_dim"]}, MLP {c["intermediate_size"]} |
| vocabulary | {c["vocab_size"]} SentencePiece BPE pieces, Gemma's settings and first ids, trained on the same tales |
| context | {c["max_position_embeddings"]} tokens, as trained; past that the text degrades |
| data | public-domain fairy tales in English from Project Gutenberg: Grimm, Andersen, Lang's Fairy Books, Jacobs, The Wonderful Wizard of Oz, Just So Stories |
| training | {f["step"]} steps of {a.batch} x {c["max_position_embeddings"]} tokens ({f["epoch"]} epochs), {f["minutes"]} minutes by the clock on one core of a busy two-core AMD EPYC (Zen 5); the command is in examples/demo-model/README.md |
| held-out loss | {f["heldout_nats_per_token"]:.3f} nats a token, perplexity {f["heldout_perplexity"]:.1f}, {f["heldout_bits_per_byte"]:.3f} bits a byte |

The loss is over 16 tales not trained on ({f["heldout_tokens"]:,} tokens), with the stored BF16 weights computed in float32, in
windows of {c["max_position_embeddings"]} tokens that overlap by half. The same tales were used to choose the checkpoint.

## Sample
Temperature {a.temperature}, top-k {a.top_k}, seed {a.seed}, prompt "Once upon a time":

> {text.replace(chr(10), chr(10) + "> " + chr(10) + "> ")}

## Limits
It knows only the style of old fairy tales, soon loses the thread of a plot, states nothing true and follows no instructions.
The turn markers are in the vocabulary but were never trained. The tales are of their time, in their views as well; so is what
it writes. It may repeat phrases of the tales word for word.

## Licence
Apache-2.0. The tales were all published before 1929 and are in the public domain in the United States.
"""


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    if a.check:
        return check(a.check)
    os.makedirs(a.work, exist_ok=True)
    path = os.path.join(a.work, "tokenizer.model")
    texts, dropped = read_tales(os.path.join(a.tales, "tales.jsonl.gz"))
    held, _ = read_tales(os.path.join(a.tales, "tales-heldout.jsonl.gz"))
    if not os.path.exists(path):
        train_tokenizer(texts, a.vocab, path)
    sp = spm.SentencePieceProcessor(model_file=path)
    documents, heldout = ([torch.tensor([BOS] + sp.encode(t) + [EOS]) for t in part] for part in (texts, held))
    if a.export:
        return export(a, sp, heldout, final=True)
    if a.sample is not None:
        best = torch.load(os.path.join(a.work, "best.pt"))
        model = stored(best["config"], best["weights"])
        return print(sp.decode(generate(model, [BOS] + sp.encode(a.sample), a.tokens, a.temperature, a.top_k, a.seed)))
    print("python %s, torch %s, sentencepiece %s" % (platform.python_version(), torch.__version__, spm.__version__))
    print("%d tales, %d tokens, %.2f bytes a token; %d held out, %d tokens; left out: %s" % (
        len(texts), sum(map(len, documents)), sum(len(t.encode()) for t in texts) / sum(map(len, documents)), len(held),
        sum(map(len, heldout)), "; ".join(dropped)), flush=True)
    train(a, sp, documents, heldout)
    if not a.stop_after:
        export(a, sp, heldout, final=True)


if __name__ == "__main__":
    main()
