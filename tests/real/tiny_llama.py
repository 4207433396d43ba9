"""Makes a tiny, randomly initialised Llama in Hugging Face layout; nothing is downloaded.

Run by a server's own interpreter (it needs numpy, safetensors and tokenizers):

    python tests/real/tiny_llama.py DIR

The model is 2 layers of 128 with 4 heads of 32 (vLLM on the CPU takes no smaller head), a context
of 4096 and a byte-level BPE vocabulary of 4096, about 5 MB of float32. The weights come from a
fixed seed; the vocabulary is trained on the text of Python's own documentation and on invented
Chinese, so that prompts have a plausible number of tokens and sampled answers hold whole
characters of several bytes as well as halves of them.
"""

import argparse
import json
import random
from pathlib import Path
from pydoc_data import topics

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SEED = 20_260_731
VOCAB = 4096
HIDDEN = 128
LAYERS = 2
HEADS = 4
KV_HEADS = 2
HEAD = HIDDEN // HEADS
INTERMEDIATE = 256
CONTEXT = 4096
ROPE_THETA = 10_000.0
RMS_EPS = 1e-5

BOS, EOS, PAD, SYSTEM, USER, ASSISTANT = SPECIALS = (
    "<s>",
    "</s>",
    "<pad>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
HAN = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可"
    "她里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三"
    "已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女"
    "问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由"
)


def corpus() -> list[str]:
    """The paragraphs the vocabulary is trained on, the same for one Python version."""
    english = [
        part for topic in sorted(topics.topics) for part in topics.topics[topic].split("\n\n")
    ]
    draw = random.Random(SEED)
    words = ["".join(draw.choices(HAN, k=draw.choice((1, 2, 2, 3)))) for _ in range(900)]
    chinese = ["".join(draw.choices(words, k=30)) + "。" for _ in range(2000)]
    return english + chinese


def tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer that decodes any sequence of its ids to UTF-8 or to U+FFFD."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, SPECIALS.index(BOS))]
    )
    made.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=VOCAB,
            special_tokens=list(SPECIALS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def weights() -> dict[str, np.ndarray]:
    """The float32 tensors by their Hugging Face names, each of shape (out, in)."""
    draw = np.random.default_rng(SEED)

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(0.0, shape[-1] ** -0.5, shape).astype(np.float32)

    tensors = {"model.embed_tokens.weight": normal(VOCAB, HIDDEN)}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        tensors |= {
            f"{block}.input_layernorm.weight": np.ones(HIDDEN, np.float32),
            f"{block}.self_attn.q_proj.weight": normal(HEADS * HEAD, HIDDEN),
            f"{block}.self_attn.k_proj.weight": normal(KV_HEADS * HEAD, HIDDEN),
            f"{block}.self_attn.v_proj.weight": normal(KV_HEADS * HEAD, HIDDEN),
            f"{block}.self_attn.o_proj.weight": normal(HIDDEN, HEADS * HEAD),
            f"{block}.post_attention_layernorm.weight": np.ones(HIDDEN, np.float32),
            f"{block}.mlp.gate_proj.weight": normal(INTERMEDIATE, HIDDEN),
            f"{block}.mlp.up_proj.weight": normal(INTERMEDIATE, HIDDEN),
            f"{block}.mlp.down_proj.weight": normal(HIDDEN, INTERMEDIATE),
        }
    tensors["model.norm.weight"] = np.ones(HIDDEN, np.float32)
    head = normal(VOCAB, HIDDEN)
    # A row of zeros keeps the end token out of greedy answers and at about 1 in 4096 when sampled:
    # lengths then are what was asked for, also on a server without ignore_eos.
    head[: len(SPECIALS)] = 0.0
    tensors["lm_head.weight"] = head
    return tensors


def write(folder: Path) -> None:
    """Writes config, weights, tokenizer and chat template into `folder`."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    made = tokenizer()
    if made.get_vocab_size() != VOCAB:
        raise SystemExit(f"the corpus gave {made.get_vocab_size()} tokens, not {VOCAB}")
    made.save(str(folder / "tokenizer.json"))
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": RMS_EPS,
        "rope_theta": ROPE_THETA,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        **ids,
    }
    documents = {
        "config.json": config,
        "generation_config.json": {"do_sample": True, "temperature": 1.0, **ids},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": EOS,
            "pad_token": PAD,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, document in documents.items():
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="make the tiny Llama")
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
