"""``quantbench site`` as a command: a folder in, pages out, and one sentence for what is wrong."""

from pathlib import Path

import pytest
from conftest import Quantbench
from studies import site_cost
from studies.long_history import make


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    make(folder, 4, 3)
    return folder


def test_a_folder_of_nights_becomes_pages(quantbench: Quantbench, nights: Path, tmp_path: Path) -> None:
    (nights / "2023-01-02T00-00-00Z" / "report.html").write_text("a report")
    (nights / "2023-01-09T00-00-00Z").mkdir()
    done = quantbench("site", str(nights), "pages/here", cwd=tmp_path)
    assert done.status == 0
    assert "4 nights, 3 cells, 1 red now; 4 pages: pages/here/index.html" in done.output
    assert "left out: 2023-01-09T00-00-00Z: holds no report.json" in done.output
    page = (tmp_path / "pages" / "here" / "index.html").read_text()
    [link] = {part.partition('"')[0] for part in page.split('["2023-01-02","2023-01-02T00-00-00Z","')[1:]}
    assert (tmp_path / "pages" / "here" / link).resolve() == nights / "2023-01-02T00-00-00Z" / "report.html"


def test_links_may_lead_to_where_the_runs_are_published(quantbench: Quantbench, nights: Path, tmp_path: Path) -> None:
    (nights / "2023-01-02T00-00-00Z" / "report.html").write_text("a report")
    assert (
        quantbench("site", str(nights), "out", "--last", "3", "--links", "https://x.org/nights/", cwd=tmp_path).status
        == 0
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert "https://x.org/nights/2023-01-02T00-00-00Z/report.html" in page
    assert page.count("report.html") == 1  # the other nights hold no page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "out"], "RUNS: nowhere is not a folder; give the one that holds the run folders"),
        (["empty", "out"], "RUNS: empty holds no run that can be read"),
        (["empty", "s3://bucket/site"], "OUT: expected a folder of this machine, found s3://bucket/site; upload"),
        (["empty", "out", "--links", "javascript:alert(1)"], "--links: expected an address such as https://"),
        (["nights://x", "out"], "RUNS: cannot open nights://x"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    quantbench: Quantbench, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = quantbench("site", *arguments, cwd=tmp_path)
    assert done.status == 4
    assert words in done.output
    assert not (tmp_path / "out").exists()


def test_the_study_times_the_command_and_weighs_its_pages(nights: Path, tmp_path: Path) -> None:
    cost = site_cost.built(nights, tmp_path / "out")
    assert cost.clock > 0
    assert cost.processor > 0
    assert site_cost.size(tmp_path / "out") > 0.01  # MiB
