"""Replies drawn, searched for and kept apart, on the town's small model."""

from __future__ import annotations

import pytest
import torch

from workbench import recipes
from workbench.data.generators import generator_of
from workbench.errors import WorkbenchError
from workbench.models.samplers import Beam, DiverseBeam, Sampling, draw
from workbench.templates import chat
from workbench.training import rollouts

QUESTIONS = ("What does a baker do?", "Who sells fish on the market of the town?", "Is it late?")


@pytest.fixture(scope="module")
def small():
    model, tokenizer = recipes.load("town-small")
    return model, tokenizer, [chat.prompt_ids(tokenizer, question) for question in QUESTIONS]


def logp(small, replies: list[list[int]]) -> torch.Tensor:
    model, _, asked = small
    return rollouts.log_probabilities(model, asked, replies)[0].sum(1)


def test_a_beam_finds_likelier_replies_than_greed(small) -> None:
    model, tokenizer, asked = small
    greedy = draw(model, tokenizer, asked, 1, Beam(1), reply_tokens=12)
    beams = draw(model, tokenizer, asked, 3, Beam(6, length_penalty=0.0), reply_tokens=12)
    assert [replies[0] for replies in greedy] == rollouts.generate(model, tokenizer, asked, reply_tokens=12, temperature=0).ids
    found = torch.stack([logp(small, [replies[place] for replies in beams]) for place in range(3)])
    greedily = logp(small, [replies[0] for replies in greedy])
    assert (found[0] >= greedily - 1e-4).all() and (found[0] > greedily + 0.1).any()
    assert (found[:-1] >= found[1:] - 1e-4).all(), "best first"


def test_diverse_replies_differ_and_the_first_is_the_likeliest(small) -> None:
    """Without a penalty all are the greedy one; with one that outweighs everything no two begin alike."""
    model, tokenizer, asked = small
    greedy = [replies[0] for replies in draw(model, tokenizer, asked, 1, Beam(1), reply_tokens=8)]
    assert draw(model, tokenizer, asked, 3, DiverseBeam(0.0), reply_tokens=8) == [[ids] * 3 for ids in greedy]
    apart = draw(model, tokenizer, asked, 3, DiverseBeam(1e5), reply_tokens=8)
    assert [replies[0] for replies in apart] == greedy
    assert all(len({reply[0] for reply in replies}) == 3 for replies in apart)


def test_a_reply_that_has_ended_keeps_no_token_from_others(small) -> None:
    """Of two replies to a prompt whose first ends at once, the second may end where it would have alone."""
    from workbench.models.samplers import _Apart

    end, other = 2, 5
    scores = torch.log_softmax(torch.tensor([[0.0, 0, 4, 0, 0, 3]] * 2), -1)
    beginning = torch.tensor([[7, 7, end], [7, 7, other]])  # prompts of two tokens, and one of the reply
    fresh, over = _Apart(2, 2.0, 3, [end])(beginning, scores), _Apart(2, 2.0, 2, [end])(beginning, scores)
    assert fresh.argmax(-1).tolist() == [end, other] and over.argmax(-1).tolist() == [end, end]


def test_drawn_replies_follow_the_seed_the_temperature_and_top_p(small) -> None:
    model, tokenizer, asked = small
    one, same, other = (draw(model, tokenizer, asked, 4, Sampling(), reply_tokens=6, seed=seed) for seed in (1, 1, 2))
    assert one == same != other and all(len(replies) == 4 for replies in one)
    assert len({tuple(reply) for reply in draw(model, tokenizer, asked[:1], 8, Sampling(), reply_tokens=6, seed=0)[0]}) > 1
    for narrow in (Sampling(temperature=1e-3), Sampling(top_p=1e-6), Sampling(top_k=1)):
        assert draw(model, tokenizer, asked, 2, narrow, reply_tokens=6, seed=0) == [
            [ids] * 2 for ids in rollouts.generate(model, tokenizer, asked, reply_tokens=6, temperature=0).ids], narrow


def test_a_generator_of_prompts_takes_a_sampler(small) -> None:
    model, tokenizer, asked = small
    reply = generator_of((model, tokenizer), max_tokens=8, sampler=Beam(4))(QUESTIONS[0])
    best = draw(model, tokenizer, asked[:1], 1, Beam(4), reply_tokens=8)[0][0]
    assert reply == tokenizer.decode(best, skip_special_tokens=True).strip()


@pytest.mark.parametrize("wrong", [lambda: Sampling(temperature=0), lambda: Sampling(top_p=1.5), lambda: Sampling(top_k=-1), lambda: Beam(0),
                                   lambda: DiverseBeam(-1), lambda: Sampling("a"), lambda: Sampling(1.0, None), lambda: DiverseBeam("x"),
                                   lambda: Beam(2, "x"), lambda: Beam(2, float("nan"))],
                         ids=["temperature", "top_p", "top_k", "beams", "penalty", "letters", "no top_p", "penalty of letters",
                              "length penalty of letters", "length penalty nan"])
def test_a_sampler_that_cannot_be_says_so(wrong) -> None:
    with pytest.raises(WorkbenchError, match="must be"):
        wrong()


def test_no_more_replies_than_beams(small) -> None:
    model, tokenizer, asked = small
    with pytest.raises(WorkbenchError, match="2 beams ends with no more replies, and 3 are wanted"):
        draw(model, tokenizer, asked, 3, Beam(2))
