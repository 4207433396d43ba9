"""Writes the tiny Llama of `tiny_llama.py` as one GGUF file for llama.cpp.

Run by the server's own interpreter (it needs numpy, tokenizers and gguf):

    python tests/real/tiny_gguf.py FILE.gguf

Weights, vocabulary and chat template are those of the Hugging Face folder.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import tiny_llama

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in llama.cpp's order.

    llama.cpp rotates neighbouring pairs of a head, Hugging Face its two halves.
    """
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def renamed(name: str) -> str:
    """The GGUF name of a Hugging Face tensor."""
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, inner = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[inner]}.weight"
    return f"{NAMES[stem]}.weight"


def write(path: Path) -> None:
    """Writes the model to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(tiny_llama.CONTEXT)
    writer.add_embedding_length(tiny_llama.HIDDEN)
    writer.add_block_count(tiny_llama.LAYERS)
    writer.add_feed_forward_length(tiny_llama.INTERMEDIATE)
    writer.add_head_count(tiny_llama.HEADS)
    writer.add_head_count_kv(tiny_llama.KV_HEADS)
    writer.add_layer_norm_rms_eps(tiny_llama.RMS_EPS)
    writer.add_rope_freq_base(tiny_llama.ROPE_THETA)
    writer.add_rope_dimension_count(tiny_llama.HEAD)
    writer.add_vocab_size(tiny_llama.VOCAB)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)

    model = json.loads(tiny_llama.tokenizer().to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    special = set(tiny_llama.SPECIALS)
    types = [
        gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(tokens.index(tiny_llama.BOS))
    writer.add_eos_token_id(tokens.index(tiny_llama.EOS))
    writer.add_pad_token_id(tokens.index(tiny_llama.PAD))
    writer.add_add_bos_token(value=True)
    writer.add_chat_template(tiny_llama.CHAT_TEMPLATE)

    for name, weight in tiny_llama.weights().items():
        if ".q_proj." in name:
            weight = interleaved(weight, tiny_llama.HEADS)  # noqa: PLW2901 - one name per tensor
        elif ".k_proj." in name:
            weight = interleaved(weight, tiny_llama.KV_HEADS)  # noqa: PLW2901 - as above
        writer.add_tensor(renamed(name), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="make the tiny GGUF")
    parser.add_argument("path", type=Path)
    write(parser.parse_args().path)
