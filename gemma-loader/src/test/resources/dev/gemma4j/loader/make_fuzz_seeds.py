"""Makes fuzz/ and split/: one model, as small as its vocabulary of 512 lets it be, in every format.

Python 3 with numpy, torch and sentencepiece, run in this directory.
Each directory of fuzz/ holds seeds for one format; fuzz/base is the rest of the model.
"""
import json
import os
import shutil
import struct

import numpy
import sentencepiece

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
    os.makedirs("fuzz/sentencepiece", exist_ok=True)
    shutil.copy(MODEL, "fuzz/sentencepiece/bpe")


if __name__ == "__main__":
    main()
