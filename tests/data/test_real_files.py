"""Every file of the real data: what holds rows loads, its layout is told from its columns, and its rows read as that layout says; what
holds none is refused in one sentence. Counts are those of the data's own README, or counted from the files by other means (json, csv,
regular expressions).
"""

from __future__ import annotations

import collections
import gzip
import html
import json
import re
import tarfile

import pytest

from workbench.data import layouts, sources, unfold
from workbench.errors import DataError

CHOICES, TURNS, CASES = "multiple choice", "questions in turns", "instruction with instances"

ROWS = {
    "gsm8k/train_2000.jsonl": ("question/answer", 2000), "gsm8k/test.jsonl": ("question/answer", 1319),
    "hh_rlhf/harmless_first1200.jsonl.gz": ("chosen/rejected", 1200),
    "open_assistant/en_100_tree.jsonl": ("ranked reply trees", 100), "open_assistant/realistic_seed_data.json": ("tree messages", 444),
    "dpo_kto_demo/dpo_en_demo.json": ("ShareGPT pairs", 300), "dpo_kto_demo/kto_en_demo.json": ("messages unpaired", 300),
    "votes/vicuna_gpt4_threeclass.csv": ("votes", 4480),
    "self_instruct/seed_tasks.jsonl": (CASES, 175), "self_instruct/user_oriented_instructions.jsonl": (CASES, 252),
    "fastchat/dummy_conversation.json": ("ShareGPT", 500), "fastchat/judge_prompts.jsonl": ("judge prompts", 8),
    "fastchat/mt_bench_question.jsonl": (TURNS, 80), "fastchat/vicuna_bench_question.jsonl": (TURNS, 80),
    "fastchat/mt_bench_reference_gpt-4.jsonl": ("answers in turns", 30),
    "identity/identity.json": ("instruction/input/output", 91),
    "multiple_choice/arc_easy.jsonl": (CHOICES, 2376), "multiple_choice/piqa.jsonl": (CHOICES, 1838),
    "multiple_choice/copa.jsonl": (CHOICES, 100),
    "multiple_choice/lambada_openai.jsonl": ("context/continuation", 1500),
    "sms_spam/SMSSpamCollection": ("text/label", 5574), "cacm/topics.cacm.txt": ("plain text", 64),
    "tinyshakespeare/input.txt": ("plain text", 7222),
    "cacm/cacm.tar.gz": ("plain text", 3204), "cacm/qrels.cacm.txt": ("relevance judgements", 796),
    "cacm/cacm-bm25.txt": ("ranking of documents", 1920),
}

NO_ROWS = {
    "stories260k/model.safetensors": "weights", "stories260k/config.json": "belongs to a model",
    "stories260k/tokenizer.json": "belongs to a model",
    "stories260k/tokenizer_config.json": "belongs to a model", "stories260k/generation_config.json": "belongs to a model",
    "promptsource/ag_news.yaml": "templates", "README.md": ".md",
}


@pytest.mark.parametrize(("file", "layout", "count"), [(file, *told) for file, told in ROWS.items()])
def test_a_real_file_of_rows_loads_and_reads_in_its_layout(real_data, file, layout, count):
    table = sources.load_rows(real_data / file)
    told = layouts.layout_of(table)
    assert (told.name, table.num_rows) == (layout, count)
    assert len(layouts.read(table.to_pylist(), told)) >= count
    assert sources.origin(table) == file.split("/")[1]
    if told.kind == "training":
        sources.check_layout(table)
    else:
        with pytest.raises(DataError) as caught:
            sources.check_layout(table)
        assert told.use in str(caught.value) and file.split("/")[1] in str(caught.value) and caught.value.remedy


def test_rows_rendered_for_t0_are_prompts_and_completions(real_data):
    files = sorted((real_data / "t0_prompted").glob("*.jsonl"))
    assert len(files) == 16
    for file in files:
        table = sources.load_rows(file)
        assert table.num_rows == 200 and layouts.layout_of(table).name == "prompt/completion"
        assert layouts.examples(table.to_pylist(), table.column_names) == [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(("file", "word"), NO_ROWS.items())
def test_a_real_file_without_rows_is_refused_in_a_sentence(real_data, file, word):
    with pytest.raises(DataError) as caught:
        sources.load_rows(real_data / file)
    text = str(caught.value)
    assert word in text and file.split("/")[-1] in text and caught.value.remedy and len(text.splitlines()) == 1


def test_no_real_file_is_left_out(real_data):
    left = {path.relative_to(real_data).as_posix() for path in real_data.rglob("*") if path.is_file()} - set(ROWS) - set(NO_ROWS)
    assert {name for name in left if not name.startswith(("t0_prompted/", "promptsource/")) and not name.endswith("LICENSE")} == set()
    for name in sorted(left):
        if name.endswith((".yaml", "LICENSE")):
            with pytest.raises(DataError, match=name.rsplit("/", 1)[1]):
                sources.load_rows(real_data / name)


def test_transcripts_part_where_trl_parts_them_and_lose_no_word(real_data):
    from trl.data_utils import extract_prompt

    raw = [json.loads(line) for line in gzip.open(real_data / "hh_rlhf" / "harmless_first1200.jsonl.gz", "rt", encoding="utf-8")]
    pairs = layouts.judged(raw, ["chosen", "rejected"])
    for row, pair in zip(raw, pairs, strict=True):
        for side in ("chosen", "rejected"):
            said = [*pair["prompt"], *pair[side]]
            joined = "".join(f"\n\n{'Human' if turn['role'] == 'user' else 'Assistant'}: {turn['content']}" for turn in said)
            assert re.sub(r"\s+", "", joined) == re.sub(r"\s+", "", row[side])
        whole = {side: [*pair["prompt"], *pair[side]] for side in ("chosen", "rejected")}
        assert extract_prompt(whole) == pair
        assert len(pair["chosen"]) == len(pair["rejected"]) == 1 and pair["prompt"][0]["role"] == "user"


def test_sharegpt_pairs_and_verdicts_keep_every_word(real_data):
    raw = json.loads((real_data / "dpo_kto_demo" / "dpo_en_demo.json").read_text(encoding="utf-8"))
    table = sources.load_rows(real_data / "dpo_kto_demo" / "dpo_en_demo.json")
    for row, pair in zip(raw, layouts.judged(table.to_pylist(), table.column_names), strict=True):
        assert [turn["content"] for turn in pair["prompt"]] == [turn["value"] for turn in row["conversations"]]
        assert [pair[side] for side in ("chosen", "rejected")] == [[{"role": "assistant", "content": row[side]["value"]}]
                                                                   for side in ("chosen", "rejected")]
    raw = json.loads((real_data / "dpo_kto_demo" / "kto_en_demo.json").read_text(encoding="utf-8"))
    table = sources.load_rows(real_data / "dpo_kto_demo" / "kto_en_demo.json")
    for row, reply in zip(raw, layouts.judged(table.to_pylist(), table.column_names), strict=True):
        assert [*reply["prompt"], *reply["completion"]] == row["messages"] and reply["label"] is row["label"]


def test_votes_count_as_published(real_data):
    table = sources.load_rows(real_data / "votes" / "vicuna_gpt4_threeclass.csv")
    votes = layouts.judged(table.to_pylist(), table.column_names)
    counts = collections.Counter(vote["winner"] for vote in votes)
    assert counts == {"left": 2512, "right": 1355, "tie": 600, None: 13}
    given = len(votes) - counts[None]
    assert round(100 * counts["left"] / given, 2) == 56.23 and round(100 * counts["right"] / given, 2) == 30.33
    assert {vote["question"] for vote in votes} == {str(number) for number in range(1, 81)}
    assert votes[0] == {"question": "1", "left": "13b-guanaco", "right": "30b-guanaco", "winner": "tie"}


def test_ranked_replies_of_the_trees_are_all_found_best_first(real_data):
    file = real_data / "open_assistant" / "en_100_tree.jsonl"
    table = sources.load_rows(file)
    rankings = layouts.judged(table.to_pylist(), table.column_names)
    written = collections.Counter(int(rank) for rank in re.findall(r'"rank": (\d+)', file.read_text(encoding="utf-8")))
    assert collections.Counter(rank for ranking in rankings for rank in ranking["ranks"]) == written
    assert all(ranking["ranks"] == list(range(len(ranking["replies"]))) and ranking["prompt"][-1]["role"] == "user" for ranking in rankings)
    best = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["prompt"]
    top = next(reply["text"] for reply in best["replies"] if reply.get("rank") == 0)
    assert rankings[0]["prompt"] == [{"role": "user", "content": best["text"]}]
    assert rankings[0]["replies"][0] == [{"role": "assistant", "content": top}]


def test_rows_that_hold_several_unfold_into_rows_to_train_on(real_data):
    seeds = [json.loads(line) for line in (real_data / "self_instruct" / "seed_tasks.jsonl").read_text(encoding="utf-8").splitlines()]
    table = unfold.unfold(sources.load_rows(real_data / "self_instruct" / "seed_tasks.jsonl"))
    assert [row["output"] for row in table.to_pylist()] == [case["output"] for seed in seeds for case in seed["instances"]]
    sources.check_layout(table)

    nodes = json.loads((real_data / "open_assistant" / "realistic_seed_data.json").read_text(encoding="utf-8"))
    table = unfold.unfold(sources.load_rows(real_data / "open_assistant" / "realistic_seed_data.json"))
    sources.check_layout(table)
    conversations = [row["messages"] for row in table.to_pylist()]
    answers = {turn["content"] for said in conversations for turn in said if turn["role"] == "assistant"}
    assert answers == {node["text"] for node in nodes if node["role"] == "assistant"}
    assert {said[0]["content"] for said in conversations} <= {node["text"] for node in nodes if node["parent_message_id"] is None}
    assert all(said[-1]["role"] == "assistant" for said in conversations)
    assert len({tuple(turn["content"] for turn in said) for said in conversations}) == len(conversations)

    trees = unfold.unfold(sources.load_rows(real_data / "open_assistant" / "en_100_tree.jsonl"))
    sources.check_layout(trees)
    text = (real_data / "open_assistant" / "en_100_tree.jsonl").read_text(encoding="utf-8")
    assert len(set(trees.column("tree").to_pylist())) == 100
    told = {turn["content"] for said in trees.column("messages").to_pylist() for turn in said}
    written = {json.loads(found) for found in re.findall(r'"text": ("(?:[^"\\]|\\.)*")', text)}
    assert told <= written and len(told) > 0.8 * len(written)  # questions that nobody answered are left off


def test_every_abstract_comes_out_of_its_archive_word_for_word(real_data):
    with tarfile.open(real_data / "cacm" / "cacm.tar.gz") as archive:
        pages = {member.name: archive.extractfile(member).read().decode() for member in archive}
    rows = sources.load_rows(real_data / "cacm" / "cacm.tar.gz").to_pylist()
    assert [row["file"] for row in rows] == list(pages) and len(rows) == 3204
    for row in rows:
        shown = re.fullmatch(r"<html>\s*<pre>(.*)</pre>\s*</html>\s*", pages[row["file"]], re.DOTALL)[1]
        assert row["text"].split() == html.unescape(shown).split()
    assert rows[0]["text"].startswith("Preliminary Report-International Algebraic Language\n\nCACM December, 1958")


def test_a_ranking_and_its_judgements_give_the_published_precision(real_data):
    judged, found = (sources.load_rows(real_data / "cacm" / name).to_pylist() for name in ("qrels.cacm.txt", "cacm-bm25.txt"))
    good = {(row["query_id"], row["document_id"]) for row in judged if row["relevance"] > 0}
    hits = collections.Counter(row["query_id"] for row in found if row["rank"] <= 30 and (row["query_id"], row["document_id"]) in good)
    queries = {query for query, _ in good}
    assert len(queries) == 52 and round(sum(hits.values()) / 30 / 52, 4) == 0.1942  # P@30 as the data's README has it
    files = {row["file"].removesuffix(".html") for row in sources.load_rows(real_data / "cacm" / "cacm.tar.gz").to_pylist()}
    assert {row["document_id"] for row in found} <= files


def test_a_search_topic_is_its_words_without_marks(real_data):
    rows = sources.load_rows(real_data / "cacm" / "topics.cacm.txt").to_pylist()
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 65)]
    assert rows[0]["text"].startswith("What articles exist which deal with TSS")
    assert not any("<" in row["text"][:1] or "DOC" in row["text"] for row in rows)
