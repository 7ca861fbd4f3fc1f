"""What a live figure keeps and what it sends, with a hand-written stand-in for the page that applies messages as live_figure.js does."""

from __future__ import annotations

import copy
import gzip
import json
import threading

import numpy as np
import pytest

from widgets.frame import columns
from widgets.frame.downsample import N_OUT
from widgets.frame.live_figure import RESEND_S, LiveFigure, plotly_js_gz
from widgets.frame.pump import Pump
from widgets.frame.sheet import Sheet


class Page:
    """Stands for the page: takes what the kernel sends, keeps numbers and specs."""

    def __init__(self, figure: LiveFigure) -> None:
        self.figure, self.bytes, self.messages, self.plotly = figure, 0, [], b""
        self.arrived = threading.Condition()
        figure.send = self.take
        self.open(figure.get_state()["_full"])

    def open(self, full: dict, pool: list | None = None) -> None:
        pool = full["pool"] if pool is None else pool
        self.specs, self.version = copy.deepcopy(full["specs"]), full["version"]
        self.columns = {name: [np.frombuffer(pool[2 * i]), np.frombuffer(pool[2 * i + 1])] for i, (name, _) in enumerate(full["columns"])}

    def take(self, message: dict, buffers: list | None = None) -> None:
        with self.arrived:
            self.messages.append(message)
            self.bytes += len(json.dumps(message)) + sum(len(buffer) for buffer in buffers or [])
            if message["kind"] == "full":
                self.open(message, buffers)
            elif message["kind"] == "plotly":
                self.plotly = buffers[0]
            elif message["kind"] == "delta":
                assert message["version"] == self.version + 1
                self.version += 1
                for path, *value in message.get("steps", []):
                    owner = self.specs
                    for key in path[:-1]:
                        owner = owner[key]
                    if value:
                        owner[path[-1]] = copy.deepcopy(value[0])
                    else:
                        del owner[path[-1]]
                for i, (how, name, _) in enumerate(message["moved"]):
                    new = [np.frombuffer(buffers[2 * i + k]) for k in (0, 1)]
                    old = self.columns[name] if how == "extend" else [new[0][:0], new[1][:0]]
                    self.columns[name] = [np.concatenate(pair) for pair in zip(old, new, strict=True)]
            self.arrived.notify_all()

    def wait(self, condition, timeout_s: float = 5.0) -> None:
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout_s)

    def drawn(self, width: str = "wide", trace: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return tuple(self.columns[self.specs[width]["data"][trace]["x"]["$"]])


def loss_figure(n: int, width: int = 800, label: str = "train") -> dict:
    sheet = Sheet(width, 300)
    axis = sheet.cell(0, 0, width, 300, "Loss", "nats", "step")
    sheet.line(axis, np.arange(float(n)), np.random.default_rng(0).normal(size=n), "blue", uid="loss")
    sheet.label(axis, n, 0, label)
    return sheet.figure()


@pytest.fixture
def pump():
    made = Pump()
    yield made
    made.close()


def test_a_point_costs_under_a_kilobyte_at_twenty_thousand(pump: Pump) -> None:
    figure = LiveFigure({width: loss_figure(20_000, px) for width, px in (("wide", 800), ("medium", 420), ("narrow", 360))}, pump=pump)
    page = Page(figure)
    page.bytes = 0
    for k in range(20):
        figure.extend({"loss": (20_000 + k, 1.0)})
        page.wait(lambda: page.version == k + 1)
    assert page.bytes / 20 <= 1024
    x, _ = page.drawn()
    assert x[-1] == 20_019
    assert len(figure.figures["wide"]["data"][0]["x"]) == 20_020


def test_points_drawn_stay_few_while_all_are_kept(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(0), pump=pump)
    page = Page(figure)
    sent = 0
    for _ in range(10):
        sent += 1_000
        figure.extend({"loss": (np.arange(sent - 1_000.0, sent), np.ones(1_000))})
        page.wait(lambda: page.drawn()[0][-1:] == sent - 1)
    assert len(page.drawn()[0]) <= 2 * N_OUT
    assert len(figure.figures["wide"]["data"][0]["x"]) == 10_000


def test_whole_figures_are_sent_as_what_differs(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(500), pump=pump)
    page = Page(figure)
    page.bytes = 0
    figure.set_figures(loss_figure(503, label="train, smoothed"), summary="three more")
    page.wait(lambda: page.version == 1)
    assert [how for how, *_ in page.messages[-1]["moved"]] == ["extend"]
    assert page.bytes < 600
    assert page.specs["wide"]["layout"]["annotations"][-1]["text"] == "train, smoothed"
    assert len(page.drawn()[0]) == 503
    assert figure.summary == "three more"
    figure.set_figures(loss_figure(503, label="train, smoothed"))
    assert page.version == 1  # nothing differs, nothing is sent


def test_gaps_and_foreign_arrays_count_as_the_same_numbers(pump: Pump) -> None:
    x, y = np.arange(6.0), np.array([1.0, np.nan, 3.0, 4.0, np.nan, 6.0])
    figure = LiveFigure({"data": [dict(x=x, y=y, uid="loss")], "layout": {}}, pump=pump)
    page = Page(figure)
    strided = np.repeat(np.append(y, 7.0), 2)[::2]
    figure.set_figures({"data": [dict(x=list(range(7)), y=strided, uid="loss")], "layout": {}})
    page.wait(lambda: page.version == 1)
    assert page.messages[-1]["moved"] == [["extend", "loss", 1]]
    figure.set_figures({"data": [dict(x=list(range(7)), y=[1.0, np.nan, 3.5, 4.0, np.nan, 6.0, 7.0], uid="loss")], "layout": {}})
    page.wait(lambda: page.version == 2)
    assert page.messages[-1]["moved"] == [["replace", "loss", 7]]


def test_other_traces_replace_the_old_ones(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(50), pump=pump)
    page = Page(figure)
    other = loss_figure(20)
    other["data"].append(dict(type="bar", uid="bars", x=["a", "b"], y=[1, 2]))
    figure.set_figures(other)
    page.wait(lambda: page.version == 1)
    assert len(page.drawn()[0]) == 20
    assert page.specs["wide"]["data"][1]["x"] == ["a", "b"]


def test_deltas_close_together_are_one(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(0), pump=pump)
    page = Page(figure)
    for k in range(500):
        figure.extend({"loss": (k, 0.0)})
    page.wait(lambda: len(page.drawn()[0]) == 500)
    assert page.version <= 5


def test_a_figure_that_follows_a_hand_sends_each_change_at_once(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(0), pump=pump, frame_ms=0)
    page = Page(figure)
    for k in range(20):
        figure.extend({"loss": (k, 0.0)})
        assert page.version == k + 1


def test_a_reload_gets_all_the_points(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(10), pump=pump)
    Page(figure)
    figure.extend({"loss": ([10.0, 11.0], [1.0, 2.0])})
    again = Page(figure)
    assert again.drawn()[0].tolist() == list(range(12))


def test_a_view_that_is_behind_is_sent_the_whole(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(10), pump=pump)
    page = Page(figure)
    figure._heard(figure, {"kind": "ready", "view": "a", "version": 0}, [])
    assert page.messages == []  # up to date already
    figure.extend({"loss": (10.0, 1.0)})
    figure._heard(figure, {"kind": "ready", "view": "b", "version": 0}, [])
    assert page.messages[-1]["kind"] == "full" and page.messages[-1]["view"] == "b"
    assert len(page.drawn()[0]) == 11
    assert figure.open_views == 2
    figure._heard(figure, {"kind": "gone", "view": "a"}, [])
    assert figure.open_views == 1


def test_zooming_in_brings_every_point_of_the_window(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(50_000), pump=pump)
    page = Page(figure)
    assert len(page.drawn()[0]) <= N_OUT
    figure._heard(figure, {"kind": "range", "axis": "x", "range": [1000, 1500]}, [])
    page.wait(lambda: np.isin(np.arange(1000.0, 1501.0), page.drawn()[0]).all())
    figure._heard(figure, {"kind": "range", "axis": "x", "range": None}, [])
    page.wait(lambda: not np.isin(np.arange(1000.0, 1501.0), page.drawn()[0]).all())


def test_an_event_names_the_point_in_the_full_data(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(50_000), pump=pump)
    Page(figure)
    heard: list[dict] = []
    stop = figure.on_event(heard.append)
    x, y = figure.figures["wide"]["data"][0]["x"][31_234], figure.figures["wide"]["data"][0]["y"][31_234]
    message = {"kind": "event", "type": "click", "width": "wide", "trace": 0, "uid": "loss", "index": 1240, "x": x, "y": y}
    figure._heard(figure, message, [])
    assert heard == [{"type": "click", "trace": "loss", "index": 31_234, "x": x, "y": y}]
    stop()
    figure._heard(figure, message, [])
    assert len(heard) == 1


def test_layout_patches_merge(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(5), pump=pump)
    page = Page(figure)
    figure.set_layout({"xaxis": {"range": [0, 50], "nticks": None}})
    page.wait(lambda: page.version == 1)
    assert page.specs["wide"]["layout"]["xaxis"]["range"] == [0, 50]
    assert "nticks" not in page.specs["wide"]["layout"]["xaxis"]
    assert page.specs["wide"]["layout"]["xaxis"]["showline"] is True


def test_many_threads_lose_no_point(pump: Pump) -> None:
    figure = LiveFigure({"data": [dict(type="scatter", uid=f"t{k}", x=[], y=[]) for k in range(4)], "layout": {}}, pump=pump)
    page = Page(figure)

    def work(k: int) -> None:
        for step in range(200):
            figure.extend({f"t{k}": (step, k)})

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    page.wait(lambda: all(len(page.drawn(trace=k)[0]) == 200 for k in range(4)))
    assert page.drawn(trace=3)[0].tolist() == list(range(200))


def test_a_page_is_sent_one_plotly_js_however_often_its_figures_ask(pump: Pump) -> None:
    figures = [LiveFigure(loss_figure(5), pump=pump) for _ in range(2)]
    pages = [Page(figure) for figure in figures]
    before = LiveFigure.plotly_copies

    def ask(figure: LiveFigure, page: str) -> int:
        figure._heard(figure, {"kind": "plotly", "page": page}, [])
        return LiveFigure.plotly_copies - before

    assert [ask(figures[0], "a"), ask(figures[0], "a"), ask(figures[1], "a")] == [1, 1, 1], "the first copy is on its way"
    assert b"plotly.js" in gzip.decompress(pages[0].plotly)[:200]
    assert ask(figures[1], "b") == 2, "a page loaded again, or another"
    LiveFigure._plotly_sent["a"] -= RESEND_S
    assert ask(figures[1], "a") == 3, "the first was lost"
    assert len(plotly_js_gz()) < 2_000_000


def test_graph_objects_and_missing_values_are_taken(pump: Pump) -> None:
    import plotly.graph_objects as go

    figure = LiveFigure(go.Figure(go.Scatter(x=np.arange(3), y=[1.0, None, float("nan")])), pump=pump)
    x, y = Page(figure).drawn()
    assert x.tolist() == [0, 1, 2]
    assert np.isnan(y).tolist() == [False, True, True]
    json.dumps(figure.get_state()["_full"]["specs"], allow_nan=False)


def test_wrong_names_say_which_there_are(pump: Pump) -> None:
    figure = LiveFigure(loss_figure(5), pump=pump)
    with pytest.raises(KeyError, match="loss"):
        figure.extend({"los": (1, 1)})
    with pytest.raises(ValueError, match="as many"):
        figure.extend({"loss": ([1, 2], [1])})
    with pytest.raises(ValueError, match="wide, medium, narrow"):
        LiveFigure({"broad": loss_figure(5)}, pump=pump)


def test_no_page_no_picture(pump: Pump) -> None:
    assert LiveFigure(loss_figure(5), pump=pump).picture(0.1) is None


def test_diff_and_patch_are_inverse() -> None:
    old = {"a": [{"b": 1}, {"c": [1, 2]}], "gone": 1, "same": {"k": 1}}
    new = {"a": [{"b": 2}, {"c": [1, 2, 3]}], "same": {"k": 1}, "new": None}
    steps = columns.diff(old, new)
    assert sorted(map(str, steps)) == sorted(map(str, [[["gone"]], [["a", 0, "b"], 2], [["a", 1, "c"], [1, 2, 3]], [["new"], None]]))
