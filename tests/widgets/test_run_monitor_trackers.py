"""Trackers and a GPU in the run monitor: links that lead to the web alone, and cells for what a card tells."""

from __future__ import annotations

import numpy as np
import pytest

from tests.widgets.fakes import FakeEngine, FakeRun, StillPump, prepared
from tests.widgets.test_run_monitor_figure import WIDTHS, curves
from widgets.run_monitor import RunMonitor
from widgets.run_monitor.figure import figure
from widgets.run_monitor.trackers import followed_html
from workbench.journal import events as ev

PAGE = "https://track.example:5000/#/experiments/3/runs/f00"


def reported(**fields: str) -> dict[str, ev.Reported]:
    event = ev.Reported(**({"tracker": "mlflow"} | fields))
    return {event.tracker: event}


def test_a_page_is_a_link_and_files_are_the_command_that_shows_them():
    shown = followed_html(reported(url=PAGE), [])
    assert f'<li>MLflow: <a href="{PAGE}" target="_blank" rel="noopener noreferrer">{PAGE}</a></li>' in shown
    shown = followed_html(reported(tracker="tensorboard", folder="/runs/a", command="tensorboard --logdir /runs/a/tensorboard"), [])
    assert "<a" not in shown and "<li>TensorBoard: <code>tensorboard --logdir /runs/a/tensorboard</code></li>" in shown
    assert followed_html({}, []) == ""


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt://x/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        " https://x",
        "https://a b",
        "https://x\nhttps://y",
        "file:///etc/passwd",
        "//x.example",
        "https://exämple.org/",
        "https://" + "x" * 3000,
    ],
)
def test_what_is_no_plain_web_address_is_text(url):
    shown = followed_html(reported(url=url), [])
    assert "<a" not in shown and "<script" not in shown and "href" not in shown


def test_what_a_tracker_and_a_note_are_called_is_text():
    shown = followed_html(
        reported(tracker="<b>x</b>", url='https://x/"><img/src=x/onerror=alert(1)>'),
        [ev.Noted(step=1, note="<img src=x onerror=alert(1)>")],
    )
    assert "<b>" not in shown and "<img" not in shown and 'href="https://x/&quot;&gt;&lt;img/src=x/onerror=alert(1)&gt;"' in shown
    many = followed_html({}, [ev.Noted(step=n, note=f"note {n}") for n in range(9)])
    assert many.count("<p") == 3 and "note 8" in many and "note 5" not in many


def test_the_monitor_shows_them_once_they_are_told(tmp_path):
    engine = FakeEngine()
    run = engine.add(FakeRun(tmp_path / "a"))
    run.write(ev.Started(pid=1), prepared(), ev.Step(step=1, loss=2.0, extra={"gpu_utilisation": 90.0, "gpu_memory_gib": 60.0}))
    monitor = RunMonitor(run, engine=engine, runs=str(tmp_path), pump=StillPump())
    assert monitor.widget is not None and monitor.made.followed_group.layout.display == "none"
    run.write(ev.Reported(tracker="mlflow", url=PAGE), ev.Step(step=2, loss=1.9, extra={"gpu_utilisation": 95.0, "gpu_memory_gib": 61.0}))
    run.history.refresh()
    monitor.look_again()
    assert PAGE in monitor.made.followed.value and monitor.made.followed_group.layout.display == "" and PAGE in monitor.extra_html()
    # the next point is appended to the card's own lines too
    run.write(ev.Step(step=3, loss=1.8, extra={"gpu_utilisation": 97.0, "gpu_memory_gib": 62.0}))
    run.history.refresh()
    monitor._append(run)
    lines = {trace["uid"]: trace for trace in monitor.live.figures["wide"]["data"] if "uid" in trace}
    assert list(lines["busy"]["y"]) == [90.0, 95.0, 97.0] and list(lines["card"]["y"]) == [60.0, 61.0, 62.0]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_fifth_cell_stands_beside_the_others_and_only_where_a_card_tells(width):
    count = 60
    told = figure(curves(count, utilisation=np.full(count, 93.0), card_gib=np.full(count, 61.0)), (), width)
    names = [unit["name"] for unit in told["layout"]["meta"]["units"].values()]
    assert names == ["Loss", "Learning rate", "Gradient norm", "Speed", "Memory", "GPU"]
    areas = [(told["layout"][f"xaxis{axis}"]["domain"], told["layout"][f"yaxis{axis}"]["domain"]) for axis in ("", "2", "3", "4", "5", "6")]
    for one, (x, y) in enumerate(areas):
        for u, v in areas[one + 1 :]:
            assert x[1] <= u[0] or u[1] <= x[0] or y[1] <= v[0] or v[1] <= y[0], "two cells overlap"
    assert list(told["layout"]["yaxis6"]["range"])[0] == 0 and told["layout"]["yaxis6"]["range"][1] >= 100
    plain = figure(curves(count), (), width)
    assert [unit["name"] for unit in plain["layout"]["meta"]["units"].values()] == names[:-1]
