"""Rows that compare replies: every form becomes one, pairs of a ranking are counted, and what cannot be learned from is refused."""

from __future__ import annotations

import pytest

from workbench import town
from workbench.data import comparisons, reply_tokens, run_rows, sources
from workbench.data.mixture import Mixture
from workbench.errors import DataError
from workbench.recipes import load_tokenizer


def read(rows):
    return comparisons.read(sources.load_rows(rows))


def test_a_pair_of_texts_is_a_question_and_two_replies():
    row, = read([{"prompt": "Who bakes?", "chosen": "Mira.", "rejected": "Tom.", "margin": 0.5}])
    assert row == {"prompt": [{"role": "user", "content": "Who bakes?"}],
                   "replies": [[{"role": "assistant", "content": "Mira."}], [{"role": "assistant", "content": "Tom."}]],
                   "pairs": [(0, 1, 0, 0.5)], "row": 0}


def test_a_ranking_gives_every_pair_of_different_rank():
    """Ranks 2, 0, 1, 1: sorted a b c d with ranks 0 1 1 2; of six pairs the tied one is none."""
    row, = read([{"prompt": "Q", "replies": ["d", "a", "b", "c"], "ranks": [2, 0, 1, 1]}])
    assert [comparisons.words(reply) for reply in row["replies"]] == ["a", "b", "c", "d"]
    assert [pair[:2] for pair in row["pairs"]] == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]


def test_criteria_are_heads_by_the_alphabet():
    rows = [{"prompt": "Q", "chosen": "a", "rejected": "b", "better_honest": "rejected", "better_kind": "chosen", "better_brief": "tie"},
            {"prompt": "Q", "chosen": "a", "rejected": "b", "better_honest": None, "better_kind": "", "better_brief": "tie"}]
    assert comparisons.heads_of(sources.load_rows(rows)) == ["brief", "honest", "kind"]
    assert [row["pairs"] for row in read(rows)] == [[(1, 0, 1, 0.0), (0, 1, 2, 0.0)], []]


@pytest.mark.parametrize(("row", "words"), [
    ({"prompt": "Q", "chosen": "a", "rejected": "a"}, "chosen and rejected replies are the same"),
    ({"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "a"}],
      "rejected": [{"role": "assistant", "content": "a"}]}, "chosen and rejected replies are the same"),
    ({"prompt": " ", "chosen": "a", "rejected": "b"}, "no prompt"),
    ({"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}, "share no prompt"),
    ({"prompt": "Q", "replies": ["a"]}, "fewer than two replies"),
    ({"prompt": "Q", "replies": ["a", "b"], "ranks": [1, 1]}, "the same rank"),
    ({"prompt": "Q", "replies": ["a", "b", "a"], "ranks": [0, 1, 2]}, "two replies of different rank are the same"),
    ({"prompt": "Q", "chosen": "a", "rejected": "b", "margin": -1.0}, "margin is -1.0"),
    ({"prompt": "Q", "chosen": "a", "rejected": "b", "better_kind": "yes"}, "is 'yes', not chosen, rejected or tie"),
    ({"prompt": "Q", "completion": "a", "label": True}, "do not compare two replies"),
    ({"question": "Q", "answer": "a"}, "do not compare two replies"),
    ({"left": "a", "right": "b", "winner": "left"}, "do not compare two replies"),
    ({"prompt": "Q", "chosen": "a", "rejected": "b", "better_kind": "tie"}, "of no two replies that one is better"),
])
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(row, words):
    with pytest.raises(DataError, match=words) as caught:
        read([row])
    assert caught.value.remedy


def test_the_row_is_named():
    with pytest.raises(DataError, match="Row 2 of the list"):
        read([{"prompt": "Q", "chosen": "a", "rejected": "b"}, {"prompt": "Q", "chosen": "c", "rejected": "c"}])


def test_sources_of_other_criteria_and_trees_in_a_mixture_are_refused():
    plain = [{"prompt": f"Q{n}", "chosen": "a", "rejected": "b"} for n in range(4)]
    judged = [row | {"better_kind": "chosen"} for row in plain]
    further = [{"role": "assistant", "text": text, "rank": rank} for rank, text in enumerate("xy")]
    replies = [{"role": "assistant", "text": text, "rank": rank, "replies": [{"role": "prompter", "text": "R", "replies": further}]}
               for rank, text in enumerate("ab")]
    tree = [{"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Q", "replies": replies}}] * 4
    assert [len(row["pairs"]) for row in read(tree[:1])] == [1, 1, 1]
    with pytest.raises(DataError, match="same criteria"):
        run_rows.gather(Mixture({"plain": plain, "judged": judged}), 0, 0, comparisons.RULES)
    with pytest.raises(DataError, match="'tree' holds trees"):
        run_rows.gather(Mixture({"plain": plain, "tree": tree}), 0, 0, comparisons.RULES)


def test_tokens_are_the_chat_template_s_and_keep_their_end():
    tokenizer = load_tokenizer("town-small")
    talk = [{"role": "user", "content": "Who bakes bread?"}, {"role": "assistant", "content": "Mira does."}]
    whole, cut = reply_tokens.encode(tokenizer, [talk], 512)
    wanted = tokenizer.apply_chat_template(talk, return_dict=False)
    assert cut == 0 and whole[0] == wanted
    short, cut = reply_tokens.encode(tokenizer, [talk, talk[:1]], 6)
    assert cut == 2 and short[0] == wanted[-6:]
    tokenizer.pad_token = tokenizer.decode([wanted[-1]])
    assert reply_tokens.encode(tokenizer, [talk], 512)[0][0][-1] != tokenizer.pad_token_id


def test_the_town_s_pairs_all_compare():
    assert len(read("town:preferences_annotators")) == len(town.rows("preferences_annotators"))


def test_real_pairs_and_rankings(real_data):
    """Of the 100 trees 212 questions have ranked replies, as `preferences.ranked_tree` counts them."""
    for name, rows in (("hh_rlhf/harmless_first1200.jsonl.gz", 1200), ("dpo_kto_demo/dpo_en_demo.json", 300)):
        found = read(str(real_data / name))
        assert len(found) == rows and all(row["pairs"] == [(0, 1, 0, 0.0)] for row in found)
    trees = read(str(real_data / "open_assistant" / "en_100_tree.jsonl"))
    assert len(trees) == 212 and all(len(row["pairs"]) <= len(row["replies"]) * (len(row["replies"]) - 1) / 2 for row in trees)
