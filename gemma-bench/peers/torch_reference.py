"""Gemma 1's forward pass in plain PyTorch, timed as `gemma bench --json` times this library.

torch_reference.py DIRECTORY THREADS PREFILL DECODE REPEAT: a directory as Hugging Face lays it out
(config.json, *.safetensors of F32, F16 or BF16); computes in the type that is stored. Needs torch alone.
"""
import json
import math
import mmap
import os
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # torch misses numpy, which nothing here uses
import torch
import torch.nn.functional as F

DECODE_CONTEXT = 128
WARM_UP_SECONDS = 2
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_safetensors(directory):
    tensors = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, name), "rb") as file:
            # A private mapping, as torch wants memory that may be written to.
            data = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        begin = 8 + int.from_bytes(data[:8], "little")
        for key, entry in json.loads(data[8:begin]).items():
            if key == "__metadata__":
                continue
            if entry["dtype"] not in TYPES:
                sys.exit(f"{name}: {key}: found {entry['dtype']}, expected one of {list(TYPES)}")
            count = math.prod(entry["shape"])
            at = begin + entry["data_offsets"][0]
            tensor = torch.frombuffer(data, dtype=TYPES[entry["dtype"]], count=count, offset=at)
            tensors[key] = tensor.view(entry["shape"])
    if not tensors:
        sys.exit(f"{directory}: no .safetensors file")
    return tensors


class Gemma:
    def __init__(self, directory):
        with open(os.path.join(directory, "config.json")) as file:
            self.config = json.load(file)
        c = self.config
        self.weights = read_safetensors(directory)
        self.embedding = self.weights["model.embed_tokens.weight"]
        self.layers = [
            {
                name: self.weights[f"model.layers.{i}.{name}.weight"]
                for name in (
                    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                    "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
            }
            for i in range(c["num_hidden_layers"])
        ]
        exponents = torch.arange(0, c["head_dim"], 2, dtype=torch.float32) / c["head_dim"]
        self.frequencies = 1 / c.get("rope_theta", 10000.0) ** exponents

    def cache(self, length):
        c = self.config
        shape = (2, c["num_key_value_heads"], length, c["head_dim"])
        return [torch.zeros(shape, dtype=self.embedding.dtype) for _ in self.layers]

    def norm(self, x, weight):
        """In f32: x / sqrt(mean(x^2) + eps) * (1 + weight)."""
        f = x.float()
        f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        return (f * (1 + weight.float())).to(x.dtype)

    @staticmethod
    def rope(x, cos, sin):
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)

    def forward(self, ids, position, cache):
        """The logits [vocab] after ids that begin at a position; keys and values go into the cache."""
        c = self.config
        n, end = len(ids), position + len(ids)
        heads, kv_heads, head_dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        angles = torch.arange(position, end, dtype=torch.float32)[:, None] * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        mask = torch.ones(n, end, dtype=torch.bool).tril(position) if n > 1 else None
        x = self.embedding[torch.tensor(ids)] * torch.tensor(c["hidden_size"] ** 0.5, dtype=self.embedding.dtype)
        for layer, kv in zip(self.layers, cache):
            h = self.norm(x, layer["input_layernorm"])
            q = F.linear(h, layer["self_attn.q_proj"]).view(n, heads, head_dim).transpose(0, 1)
            k = F.linear(h, layer["self_attn.k_proj"]).view(n, kv_heads, head_dim).transpose(0, 1)
            v = F.linear(h, layer["self_attn.v_proj"]).view(n, kv_heads, head_dim).transpose(0, 1)
            kv[0, :, position:end] = self.rope(k, cos, sin)
            kv[1, :, position:end] = v
            attended = F.scaled_dot_product_attention(
                self.rope(q, cos, sin)[None], kv[0, :, :end][None], kv[1, :, :end][None],
                attn_mask=mask, scale=head_dim ** -0.5, enable_gqa=heads != kv_heads)
            x = x + F.linear(attended[0].transpose(0, 1).reshape(n, heads * head_dim), layer["self_attn.o_proj"])
            h = self.norm(x, layer["post_attention_layernorm"])
            gate = F.gelu(F.linear(h, layer["mlp.gate_proj"]), approximate="tanh")
            x = x + F.linear(gate * F.linear(h, layer["mlp.up_proj"]), layer["mlp.down_proj"])
        return F.linear(self.norm(x[-1:], self.weights["model.norm.weight"]), self.embedding)[0]


def median(repeat, run):
    start = time.monotonic()
    run()
    while time.monotonic() - start < WARM_UP_SECONDS:
        run()
    return statistics.median(run() for _ in range(repeat))


def peak_rss():
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except OSError:
        return 0


@torch.inference_mode()
def main(directory, threads, prefill, decode, repeat):
    torch.set_num_threads(threads)
    start = time.monotonic()
    model = Gemma(directory)
    load = time.monotonic() - start
    vocab = model.embedding.shape[0]
    generator = torch.Generator().manual_seed(1)

    def ids(count):
        return torch.randint(vocab, (count,), generator=generator).tolist()

    def prefill_rate():
        cache = model.cache(prefill)
        prompt = ids(prefill)
        begin = time.monotonic()
        model.forward(prompt, 0, cache).argmax().item()
        return prefill / (time.monotonic() - begin)

    def decode_rate():
        cache = model.cache(DECODE_CONTEXT + decode)
        following = model.forward(ids(DECODE_CONTEXT), 0, cache).argmax().item()
        begin = time.monotonic()
        for i in range(decode):
            following = model.forward([following], DECODE_CONTEXT + i, cache).argmax().item()
        return decode / (time.monotonic() - begin)

    rates = median(repeat, prefill_rate), median(repeat, decode_rate)
    print(json.dumps({
        "version": torch.__version__,
        "weights": {t: name for name, t in TYPES.items()}[model.embedding.dtype],
        "threads": torch.get_num_threads(),
        "loadMs": load * 1e3,
        "prefill": [{"tokens": prefill, "tokensPerSecond": rates[0]}],
        "decode": {"tokens": decode, "tokensPerSecond": rates[1]},
        "peakRssBytes": peak_rss(),
    }))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
