"""Makes fuzz/, split/ and ckpt/, and the .ckpt that gemma-core tests.

Python 3 with numpy, torch (made with 1.13) and sentencepiece, run in this directory.
fuzz/, split/: one model, as small as its vocabulary of 512 lets it be, in every format. Each
directory of fuzz/ holds seeds for one format; fuzz/base is the rest of the model.
ckpt/: PyTorch checkpoints of which some must be refused.
"""
import collections
import io
import json
import os
import shutil
import pickle
import struct
import zipfile

import numpy
import sentencepiece
import torch

HIDDEN, MLP, HEADS, HEAD_DIM, VOCAB = 4, 4, 2, 2, 512
MODEL = "forward/gemma-mqa-f32/tokenizer.model"
CONFIG = {
    "model_type": "gemma", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": MLP,
    "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": 1,
    "head_dim": HEAD_DIM, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "eos_token_id": 1,
}
METADATA = {
    "general.architecture": "gemma", "gemma.context_length": CONFIG["max_position_embeddings"],
    "gemma.embedding_length": HIDDEN, "gemma.block_count": 1, "gemma.feed_forward_length": MLP,
    "gemma.attention.head_count": HEADS, "gemma.attention.head_count_kv": 1,
    "gemma.attention.key_length": HEAD_DIM, "gemma.attention.value_length": HEAD_DIM,
    "gemma.attention.layer_norm_rms_epsilon": 1e-6,
}
SHAPES = {
    "model.embed_tokens.weight": ("token_embd.weight", [VOCAB, HIDDEN]),
    "model.norm.weight": ("output_norm.weight", [HIDDEN]),
}
for part, name, shape in [
    ("input_layernorm", "attn_norm", [HIDDEN]),
    ("self_attn.q_proj", "attn_q", [HEADS * HEAD_DIM, HIDDEN]),
    ("self_attn.k_proj", "attn_k", [HEAD_DIM, HIDDEN]),
    ("self_attn.v_proj", "attn_v", [HEAD_DIM, HIDDEN]),
    ("self_attn.o_proj", "attn_output", [HIDDEN, HEADS * HEAD_DIM]),
    ("post_attention_layernorm", "ffn_norm", [HIDDEN]),
    ("mlp.gate_proj", "ffn_gate", [MLP, HIDDEN]),
    ("mlp.up_proj", "ffn_up", [MLP, HIDDEN]),
    ("mlp.down_proj", "ffn_down", [HIDDEN, MLP]),
]:
    SHAPES[f"model.layers.0.{part}.weight"] = (f"blk.0.{name}.weight", shape)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def safetensors(weights):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, w in weights.items():
        raw = w.tobytes()
        header[name] = {"dtype": "F16", "shape": list(w.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf(weights, tokenizer, pairs):
    def value(v):
        if isinstance(v, str):
            return struct.pack("<I", 8) + text(v)
        if isinstance(v, float):
            return struct.pack("<If", 6, v)
        return struct.pack("<II", 4, v)

    kv = b"".join(text(k) + value(v) for k, v in pairs.items())
    count = len(pairs)
    if tokenizer:
        n = tokenizer.get_piece_size()
        kinds = [3 if tokenizer.is_control(i) else 2 if tokenizer.is_unknown(i)
                 else 6 if tokenizer.is_byte(i) else 1 for i in range(n)]
        kv += text("tokenizer.ggml.model") + value("llama")
        kv += text("tokenizer.ggml.bos_token_id") + value(2)
        kv += text("tokenizer.ggml.eos_token_id") + value(1)
        kv += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, n)
        kv += b"".join(text(tokenizer.id_to_piece(i)) for i in range(n))
        kv += text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, n)
        kv += struct.pack(f"<{n}f", *[tokenizer.get_score(i) for i in range(n)])
        kv += text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, n)
        kv += struct.pack(f"<{n}i", *kinds)
        count += 6
    infos, data = b"", b""
    for name, w in weights.items():
        infos += text(SHAPES[name][0]) + struct.pack("<I", w.ndim)
        infos += b"".join(struct.pack("<Q", d) for d in reversed(w.shape))
        infos += struct.pack("<IQ", 1, len(data))
        data += w.tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights), count) + kv + infos
    return head + bytes(-len(head) % 32) + data


def read_safetensors(path):
    with open(path, "rb") as file:
        raw = file.read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {name: numpy.frombuffer(raw, "<f4", offset=8 + size + t["data_offsets"][0],
                                   count=int(numpy.prod(t["shape"]))).reshape(t["shape"])
            for name, t in header.items()}


def state_dict(weights):
    """As google/gemma_pytorch has it: q, k and v fused, and a complex buffer besides."""
    state = collections.OrderedDict()
    for name, w in weights.items():
        if name.endswith("q_proj.weight"):
            parts = [weights[name.replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
            name, w = name.replace("q_proj", "qkv_proj"), numpy.concatenate(parts)
        elif "k_proj" in name or "v_proj" in name:
            continue
        name = "embedder.weight" if name == "model.embed_tokens.weight" else name
        state[name] = torch.nn.Parameter(torch.from_numpy(w.copy()), requires_grad=False)
    state["freqs_cis"] = torch.polar(torch.ones(8, 2), torch.ones(8, 2))
    return state


def saved(state, **options):
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state}, buffer, **options)
    return buffer.getvalue()


def rezipped(data, change=None, compression=zipfile.ZIP_STORED):
    """The archive with other entries."""
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as target:
        entries = {name: source.read(name) for name in source.namelist()}
        for name, content in (change(entries) if change else entries).items():
            target.writestr(name, content)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned",)


def make_ckpts():
    random = numpy.random.default_rng(2)
    hidden, heads, kv, mlp, vocab = 4, 2, 1, 3, 8
    shapes = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden]}
    for l in range(2):
        for name, shape in {
            "input_layernorm": [hidden], "post_attention_layernorm": [hidden],
            "self_attn.q_proj": [heads * 256, hidden], "self_attn.k_proj": [kv * 256, hidden],
            "self_attn.v_proj": [kv * 256, hidden], "self_attn.o_proj": [hidden, heads * 256],
            "mlp.gate_proj": [mlp, hidden], "mlp.up_proj": [mlp, hidden],
            "mlp.down_proj": [hidden, mlp]}.items():
            shapes[f"model.layers.{l}.{name}.weight"] = shape
    weights = {n: random.standard_normal(s).astype("<f4") for n, s in shapes.items()}
    write("ckpt/shapes.ckpt", saved(state_dict(weights)))

    small = {"embedder.weight": torch.arange(6.0).reshape(2, 3)}
    write("ckpt/transposed.ckpt", saved({"embedder.weight": small["embedder.weight"].t()}))
    write("ckpt/legacy.ckpt", saved(small, _use_new_zipfile_serialization=False))
    write("ckpt/compressed.ckpt", rezipped(saved(small), compression=zipfile.ZIP_DEFLATED))
    write("ckpt/big-endian.ckpt",
          rezipped(saved(small), lambda e: {**e, "archive/byteorder": b"big"}))
    write("ckpt/short.ckpt",
          rezipped(saved(small), lambda e: {**e, "archive/data/0": e["archive/data/0"][:20]}))
    write("ckpt/missing.ckpt",
          rezipped(saved(small), lambda e: {n: c for n, c in e.items() if n[-2:] != "/0"}))
    beyond = small["embedder.weight"].flatten()[2:]
    write("ckpt/beyond.ckpt",  # the offset is the only integer 2 before a tuple of one 4
          rezipped(saved({"embedder.weight": beyond}),
                   lambda e: {**e, "archive/data.pkl": e["archive/data.pkl"].replace(
                       b"QK\x02K\x04\x85", b"QK\x03K\x04\x85")}))
    write("ckpt/view.ckpt", saved({"embedder.weight": beyond}))
    write("ckpt/system.ckpt", saved({"embedder.weight": Evil()}))
    write("ckpt/protocol4.ckpt",
          rezipped(saved(small), lambda e: {**e, "archive/data.pkl": pickle.dumps({}, 4)}))
    second = state_dict(weights)
    second["model.layers.0.pre_feedforward_layernorm.weight"] = torch.zeros(hidden)
    write("ckpt/gemma2.ckpt", saved(second))
    int8 = state_dict(weights)
    int8["embedder.weight"] = torch.zeros(vocab, hidden, dtype=torch.int8)
    int8["embedder.weight_scaler"] = torch.zeros(vocab)
    write("ckpt/int8.ckpt", saved(int8))

    core = "../../../../../../../gemma-core/src/test/resources/dev/gemma4j/forward/"
    source, target = core + "gemma-mqa-f32/", core + "gemma-mqa-ckpt/"
    mqa = state_dict(read_safetensors(source + "model.safetensors"))
    write(target + "gemma.ckpt", saved(mqa))
    for name in ("config.json", "tokenizer.model", "goldens.json"):
        shutil.copy(source + name, target + name)


def tokenizer_json(tokenizer):
    """As transformers converts a SentencePiece model, with Gemma's settings."""
    n = tokenizer.get_piece_size()
    vocab = {tokenizer.id_to_piece(i): i for i in range(n)}
    pairs = [(p[:i], p[i:]) for p in vocab for i in range(1, len(p))
             if p[:i] in vocab and p[i:] in vocab]
    pairs.sort(key=lambda pair: -tokenizer.get_score(vocab["".join(pair)]))
    user_defined = ["<start_of_turn>", "<end_of_turn>", "\n", "\u2581\u2581", "\u2581\u2581\u2581\u2581"]
    added = [i for i in range(n) if tokenizer.is_control(i) or tokenizer.is_unknown(i)
             or tokenizer.id_to_piece(i) in user_defined]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokenizer.id_to_piece(i), "single_word": False,
                          "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                         for i in added],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "},
                          "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                  "merges": [list(pair) for pair in pairs]},
    }


def make_adapter():
    """A LoRA adapter of the model, as PEFT saves it."""
    config = json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "use_dora": False,
        "fan_in_fan_out": False, "init_lora_weights": True, "modules_to_save": None,
        "r": 2, "lora_alpha": 3, "use_rslora": True, "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"mlp.down_proj": 1}, "alpha_pattern": {"q_proj": 4.5}}).encode()
    random = numpy.random.default_rng(3)
    weights = {}
    for module, rows, cols, rank in [("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN, 2),
                                     ("mlp.down_proj", HIDDEN, MLP, 1)]:
        name = f"base_model.model.model.layers.0.{module}.lora_"
        weights[name + "A.weight"] = random.standard_normal([rank, cols]).astype("<f2")
        weights[name + "B.weight"] = random.standard_normal([rows, rank]).astype("<f2")
    for path, data in [("adapter_config", config), ("adapter_model", safetensors(weights))]:
        write("fuzz/base/" + path + (".json" if path[-1] == "g" else ".safetensors"), data)
        write("fuzz/" + path + "/model", data)


def main():
    random = numpy.random.default_rng(1)
    weights = {name: random.standard_normal(shape).astype("<f2")
               for name, (_, shape) in SHAPES.items()}
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=MODEL)
    config = json.dumps(CONFIG).encode()
    tensors = safetensors(weights)
    write("fuzz/base/config.json", config)
    write("fuzz/base/model.safetensors", tensors)
    write("fuzz/config/model", config)
    write("fuzz/safetensors/model", tensors)
    write("fuzz/gguf/model", gguf(weights, None, METADATA))
    write("fuzz/gguf/tokenizer", gguf(weights, tokenizer, METADATA))
    write("split/whole.gguf", gguf(weights, None, METADATA))
    names = list(weights)
    for i, part in enumerate([names[:1], names[1:5], names[5:]]):
        pairs = METADATA if i == 0 else {}
        pairs = pairs | {"split.no": i, "split.count": 3, "split.tensors.count": len(names)}
        write(f"split/model-{i + 1:05}-of-00003.gguf",
              gguf({n: weights[n] for n in part}, None, pairs))
    write("fuzz/ckpt/model", saved(state_dict(weights)))
    write("fuzz/tokenizer_json/bpe",
          json.dumps(tokenizer_json(tokenizer), separators=(",", ":")).encode())
    make_ckpts()
    make_adapter()
    os.makedirs("fuzz/sentencepiece", exist_ok=True)
    shutil.copy(MODEL, "fuzz/sentencepiece/bpe")


if __name__ == "__main__":
    main()
