"""Makes the adapters beside it, and in goldens.json of each what PEFT computes with them.

Python 3 with torch 2.13.0, transformers 5.18.0 and peft 0.21.0, run in this directory. The weights are random. All
arithmetic is float32, whatever type the adapter is stored in.
"""
import json
import os
import shutil

import numpy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
torch.set_grad_enabled(False)

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    # name: base model, type of the tensors, seed, settings
    "every": ("gemma-mqa-f32", torch.float32, 1, dict(r=4, lora_alpha=8, target_modules=ATTENTION + MLP)),
    "other": ("gemma-mqa-f32", torch.float32, 2, dict(r=17, lora_alpha=16, target_modules=ATTENTION + MLP)),
    "patterns": ("gemma-mqa-f32", torch.bfloat16, 3, dict(
        r=3, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj", "o_proj", "mlp.down_proj"],
        layers_to_transform=[0, 2], rank_pattern={"o_proj": 5, "layers.2.self_attn.v_proj": 1, "v_proj": 2},
        alpha_pattern={"^model.layers.0.mlp.down_proj": 20, "o_proj": 3})),
    "grouped": ("gemma-gqa-f32", torch.float16, 4, dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
}


def base(name):
    return AutoModelForCausalLM.from_pretrained(
        "../forward/" + name, dtype=torch.float32, attn_implementation="eager").eval()


def floats(x):
    return [float("%.9g" % v) for v in x.detach().float().reshape(-1).tolist()]


def logits(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def greedy(model, ids, steps):
    """As many ids as have a clear winner at each step."""
    ids, start = list(ids), len(ids)
    for _ in range(steps):
        v, k = logits(model, ids)[-1].topk(2)
        if v[0] - v[1] < 0.02:
            break
        ids.append(int(k[0]))
    return ids[start:]


def draw(random, n):
    return [2] + [int(x) for x in random.integers(4, 512, n - 1)]


def make(name, base_name, dtype, seed, settings):
    shutil.rmtree(name, ignore_errors=True)
    torch.manual_seed(seed)
    model = get_peft_model(base(base_name), LoraConfig(task_type="CAUSAL_LM", **settings))
    for key, p in model.named_parameters():
        if "lora_A" in key:
            p.copy_(torch.randn(p.shape) / p.shape[1] ** 0.5)
        elif "lora_B" in key:
            p.copy_(torch.randn(p.shape) * 0.4)
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(name)
    os.remove(name + "/README.md")
    file = name + "/adapter_model.safetensors"
    save_file({k: v.to(dtype) for k, v in load_file(file).items()}, file, metadata={"format": "pt"})


def goldens(name, base_name, seed):
    model = PeftModel.from_pretrained(base(base_name), name).eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    plain = base(base_name)
    random = numpy.random.default_rng(seed)
    result = {"model": base_name, "prompts": []}
    for length in (1, 5, 17, 64, 100):
        ids = draw(random, length)
        continuation = greedy(model, ids, 24)
        row = logits(model, ids)[-1]
        change = float((row - logits(plain, ids)[-1]).abs().max())
        assert change > 0.05 * float(row.abs().max()), change
        result["prompts"].append({"ids": ids, "last_logits": floats(row), "greedy": continuation})
    ids = draw(random, 48)
    probabilities = torch.log_softmax(logits(model, ids).double(), -1)
    result["sequence"] = {
        "ids": ids, "logprobs": [float("%.9g" % probabilities[i - 1, ids[i]]) for i in range(1, len(ids))],
        # the mean over all positions of the state after the final norm
        "mean_state": floats(model.base_model.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0))}
    merged = model.merge_and_unload()
    for prompt in result["prompts"]:
        found = logits(merged, prompt["ids"])[-1]
        assert torch.allclose(found, torch.tensor(prompt["last_logits"]), atol=1e-4), "merged"
    with open(name + "/goldens.json", "w") as out:
        json.dump(result, out)


for name, (base_name, dtype, seed, settings) in ADAPTERS.items():
    make(name, base_name, dtype, seed, settings)
    goldens(name, base_name, seed)
