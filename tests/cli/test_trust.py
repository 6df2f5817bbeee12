"""`mbpo trust` as a user meets it: what it prints and writes, and the page in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_tasks import SHORT, one_paragraph

from mbpo.cli.main import main
from mbpo.trust import measure as measure_module

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIGURES = ["branches", "compounding", "calibration", "promise", "policy_shift", "bound", "terms", "rollouts"]


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A run folder of our own to write to."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("trust") / "run"))


@pytest.fixture(scope="module")
def printed(run):
    """What the command prints; its files are in the run's folder."""
    with pytest.MonkeyPatch.context() as patch, pytest.MonkeyPatch.context() as output:
        patch.setattr(measure_module, "ROWS_PER_SHARE", 60)
        patch.setattr(measure_module, "DATA_ROWS", (80, 80))
        lines: list[str] = []
        output.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert main(["trust", str(run), "--episodes", "3"]) == 0
    return lines


def test_it_answers_in_words(printed, run):
    assert printed[0] == f"mbpo on {SHORT} at environment step 80, 80 real rows"
    text = "\n".join(printed)
    for words in ("of the data's spread off", "Intervals that should hold 90%", "Slope", "k* = ", "the run uses k = 1"):
        assert words in text
    files = ", ".join(["trust.json", *(f"{name}.png" for name in FIGURES)])
    assert printed[-1] == f"report   {run}/trust/report.html  ({files})"


def test_it_writes_figures_and_numbers(printed, run):
    for name in FIGURES:
        assert (run / "trust" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    numbers = json.loads((run / "trust" / "trust.json").read_text())
    assert numbers["env_step"] == 80
    assert len(numbers["compounding"]["median"]) == 20
    assert numbers["policy_shift"]["source"] == "recorded"


def test_the_page_loads_nothing(printed, run):
    page = (run / "trust" / "report.html").read_text()
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r"https?://|url\(|@import", outside_scripts)
    loads = r"<(script|img|iframe|link)\b[^>]*\s(src|href)\s*=\s*[\"'](?!data:)"
    assert not re.search(loads, outside_scripts)
    assert not re.search(r"<script[^>]*\ssrc", page.split("plotly.js", 1)[0] + page[page.rindex("</main>") :])
    for words in ("What stands in for what", "fresh trajectories", "never set to a state"):
        assert words in outside_scripts
    assert outside_scripts.count('class="conclusion"') == len(FIGURES)
    assert "nan" not in re.sub(r"<[^>]*>", " ", outside_scripts).lower().split()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page in")
def test_the_page_draws_in_a_browser(printed, run, tmp_path):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    page = (run / "trust" / "report.html").as_uri()
    done = subprocess.run(
        [CHROMIUM, *options, *offline, "--dump-dom", page], capture_output=True, text=True, timeout=120
    )
    assert f'data-drawn="{len(FIGURES)}"' in done.stdout, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    for name in FIGURES:
        figure = done.stdout[done.stdout.index(f'<div id="{name}"') :]
        figure = figure[: figure.index('class="conclusion"')]
        assert "main-svg" in figure
        assert re.search(r'<path class="(js-line|point)"', figure), name


@pytest.mark.parametrize("arguments", [["nowhere"], ["--episodes", "0"]])
def test_errors_are_one_paragraph(arguments, run, tmp_path, capsys):
    folder = [] if arguments[0] == "nowhere" else [str(run)]
    assert main(["trust", *folder, *arguments, "--out", str(tmp_path / "out")]) == 2
    one_paragraph(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file(run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["trust", str(run), "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in one_paragraph(capsys.readouterr().err)
