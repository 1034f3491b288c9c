"""Small tokenizers in the real formats: CLIP's byte-level BPE and T5's unigram pieces.

Both accept any text: the first falls back to bytes, the second to letters and `<unk>`.
"""

import json
import string
from collections.abc import Iterable

import tokenizers
from transformers import BatchEncoding, CLIPTokenizer, T5Tokenizer

CLIP_LENGTH = 77
T5_LENGTH = 120
_MERGES = 400


def clip_tokenizer(captions: Iterable[str]) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges are learned from the captions."""
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    pieces.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    alphabet = letters + [letter + "</w>" for letter in letters]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=_MERGES + len(alphabet),
        special_tokens=alphabet,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    pieces.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(pieces.to_str())["model"]["merges"]]
    names = alphabet + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CLIP_LENGTH)


def tokens(tokenizer: CLIPTokenizer | T5Tokenizer, texts: list[str], length: int) -> BatchEncoding:
    """Tensors of texts that are cut or padded to one length, as the pipelines do."""
    return tokenizer(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )


def t5_tokenizer(captions: Iterable[str]) -> T5Tokenizer:
    """A T5 tokenizer with one piece for every word of the captions and every printable letter."""
    words = sorted({word for text in captions for word in text.split()})
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    vocab += [("▁" + word, -4.0) for word in words]
    known = {name for name, _ in vocab}
    vocab += [(c, -9.0) for c in string.printable.strip() if c not in known]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=T5_LENGTH)
