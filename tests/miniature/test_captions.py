"""Captions are plain English, name what they should, and leave out at random."""

import re

from raypipe.miniature.captions import STYLE, caption, full_caption, training_caption
from raypipe.miniature.specs import sample_portrait, sample_scene, sample_spec


def test_full_captions_name_every_attribute():
    for seed in range(200):
        spec = sample_portrait(seed)
        words = full_caption(spec).split()
        named = (spec.person, spec.skin, spec.hair, spec.hairstyle, spec.clothes, spec.background)
        assert set(named) <= set(words), full_caption(spec)
    for seed in range(200):
        spec = sample_scene(seed)
        words = full_caption(spec).split()
        named = {spec.background, *(v for i in spec.items for v in (i.colour, i.shape))}
        assert named <= set(words), full_caption(spec)


def test_captions_repeat_and_vary():
    spec = sample_portrait(0)
    assert caption(spec, 5) == caption(spec, 5)
    texts = {caption(spec, seed) for seed in range(50)}
    assert len(texts) > 30
    assert min(map(len, texts)) < 25 < 60 < max(map(len, texts))


def test_articles_and_spaces():
    for seed in range(500):
        text = training_caption(sample_spec(seed), seed)
        assert text == " ".join(text.split())
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_other_styles_are_rare():
    texts = [training_caption(sample_spec(seed), seed) for seed in range(500)]
    assert 0.05 < sum("in the style of" in text for text in texts) / 500 < 0.15
    assert any(text.endswith(STYLE) for text in texts)
