"""Makes a shipped base model again: trains the tokenizer and the model on the town's corpus, measures, writes the model card.

    python -m workbench.town.make_base --size medium --out FOLDER [--seed 0] [--threads 2]

The text and the tokenizer are the same on every machine; the weights are the same only for the same torch, threads and seed.
It is a plain loop over packed rows, without evaluation during training and without resuming.

Shapes: B rows a step, T tokens a row, N tokens in the corpus.
"""

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from workbench.town.documents import Document, corpus, documents
from workbench.town.measure import Recipe, card, measure

VOCABULARY = 2048
VELISH_TIMES = 4


@dataclass(frozen=True, slots=True)
class Size:
    """A shape of the base model, and how long it is trained (4,096 tokens a step)."""

    hidden: int
    layers: int
    intermediate: int
    steps: int


SIZES = {"small": Size(80, 3, 192, 4000), "medium": Size(160, 4, 320, 4000), "large": Size(224, 5, 480, 2500)}
"""About 0.3, 1.3 and 3 million parameters; heads of 32 dimensions (16 in the small one)."""

STEP_TOKENS = 4096
"""Tokens of one step."""
END_OF_TEXT, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SHAPES = ((32, 128), (32, 128), (32, 128), (8, 512))
"""Rows x tokens of the steps in turn: mostly short rows, every fourth step long ones, so that all 512 positions are trained."""
PEAK_RATE, WARMUP_STEPS = 3e-3, 100

# Qwen2's own splitting, so that the tokenizer means the same whether it is read as a generic one or as Qwen2's.
_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# ChatML, but each content begins with a space: its first word is then the same token as inside a sentence.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('The roles are system, user and assistant; got ' ~ message['role'] ~ '.') -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- ' ' + message['content'] | trim + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- ' ' + message['content'] | trim + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 2,048 tokens trained on the documents of the corpus, those in Velish counted `VELISH_TIMES`: its words are few and would be cut into letters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    specials = [END_OF_TEXT, TURN_START, TURN_END, PAD]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    # Chats count too, without their markers, so that small talk and the role names are not cut into letters.
    texts = (document.text or "\n".join(f"{role}\n {content}" for role, content in document.messages)
             for document in corpus() for _ in range(VELISH_TIMES if document.sort == "velish" else 1))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=TURN_END, pad_token=PAD, model_max_length=512,
                                   extra_special_tokens=[END_OF_TEXT, TURN_START], chat_template=CHAT_TEMPLATE,
                                   clean_up_tokenization_spaces=False)


def make_model(tokenizer: PreTrainedTokenizerFast, size: Size) -> Qwen2ForCausalLM:
    """An untrained Qwen2 of that size, embeddings tied."""
    heads = size.hidden // (32 if size.hidden % 32 == 0 else 16)
    config = Qwen2Config(vocab_size=VOCABULARY, hidden_size=size.hidden, intermediate_size=size.intermediate, num_hidden_layers=size.layers,
                         num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512, tie_word_embeddings=True, use_cache=True,
                         bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return Qwen2ForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, some: list[Document], rng: random.Random) -> list[list[int]]:
    """Token ids of each document with the end-of-text token behind it.

    Half of the plain documents begin with a space, so that a name is known both at the start of a prompt and inside one.
    """
    texts = [
        tokenizer.apply_chat_template([{"role": role, "content": content} for role, content in document.messages], tokenize=False)
        if document.messages else " " * (rng.random() < 0.5) + document.text
        for document in some
    ]
    return tokenizer([text + END_OF_TEXT for text in texts], add_special_tokens=False)["input_ids"]


class Stream:
    """Endless token rows from documents reshuffled every epoch; documents follow each other without a border in the mask."""

    def __init__(self, encoded: list[list[int]], rng: random.Random):
        self.encoded, self.rng = encoded, rng
        self.tokens, self.position = self._epoch(), 0

    def _epoch(self) -> torch.Tensor:
        order = self.rng.sample(self.encoded, len(self.encoded))
        return torch.tensor([token for document in order for token in document])

    def take(self, rows: int, length: int) -> torch.Tensor:
        """The next rows x length token ids, (B, T)."""
        if self.position + rows * length > len(self.tokens):
            self.tokens, self.position = self._epoch(), 0
        start, self.position = self.position, self.position + rows * length
        return self.tokens[start:self.position].view(rows, length)


def train(model: Qwen2ForCausalLM, stream: Stream, steps: int, compiled: bool = False) -> float:
    """Trains in place; AdamW with linear warm-up and cosine, bf16 autocast. Returns real tokens a second over the whole training."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  lr=PEAK_RATE, betas=(0.9, 0.95))
    model.train()
    run = torch.compile(model) if compiled else model
    began = time.perf_counter()
    for step in range(steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * max(cosine, 0.01)
        ids = stream.take(*SHAPES[step % len(SHAPES)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = run(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.3f}  {time.perf_counter() - began:.0f} s", flush=True)
    return steps * STEP_TOKENS / (time.perf_counter() - began)


@torch.no_grad()
def held_out_loss(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Mean cross-entropy (nats a token) on documents the corpus does not hold, 32 rows of 512 tokens."""
    stream = Stream(encode(tokenizer, list(documents(1_000, seed=5)), random.Random(5)), random.Random(5))
    model.eval()
    return sum(model(input_ids=ids, labels=ids).loss.item() for ids in (stream.take(8, 512) for _ in range(4))) / 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, made when missing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="optimizer steps of 4,096 tokens (default: the size's own)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="through torch.compile, which needs a C++ compiler: 1.2 to 1.4 times as fast after a minute")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    steps = arguments.steps or size.steps
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, size)
    encoded = encode(tokenizer, list(corpus()), rng)
    corpus_tokens = sum(map(len, encoded))
    print(f"{model.num_parameters():,} parameters, {len(encoded):,} documents, {corpus_tokens:,} tokens", flush=True)
    began = time.perf_counter()
    tokens_per_s = train(model, Stream(encoded, rng), steps, arguments.compile)
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    loss = held_out_loss(model.float(), tokenizer)  # of the weights as they are shipped
    tokenizer.save_pretrained(arguments.out)
    text = card(measure(arguments.out), Recipe(
        size=arguments.size, parameters=model.num_parameters(), corpus_tokens=corpus_tokens, steps=steps, seed=arguments.seed,
        minutes=round((time.perf_counter() - began) / 60), tokens_per_s=round(tokens_per_s), held_out_loss=round(loss, 3),
        threads=arguments.threads, compiled=arguments.compile))
    (arguments.out / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
