"""Files of figures."""

import pytest

from pyndereg import plotting
from tests.plotting.records import make_portrait, make_record, make_series, make_spiral

RECORDS = {"phase": make_portrait(), "series": make_series(), "bands": make_spiral()}


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
@pytest.mark.parametrize("kind", plotting.KINDS)
def test_every_kind_of_figure_can_be_written_in_the_format_that_the_suffix_chooses(tmp_path, kind, suffix, start):
    path = tmp_path / "figures" / f"figure{suffix}"
    plotting.save(plotting.plot([RECORDS.get(kind, make_record())], kind), path)
    assert path.read_bytes().startswith(start)


def test_an_existing_figure_is_kept_unless_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "f.svg"
    path.write_text("precious")
    figure = plotting.plot_comparison([make_record()])
    with pytest.raises(FileExistsError, match="exists already"):
        plotting.save(figure, path)
    assert path.read_text() == "precious"
    plotting.save(figure, path, overwrite=True)
    assert path.read_bytes().startswith(b"<?xml")


def test_another_suffix_is_refused_with_those_that_work(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.jpg'; choose one of \.png, \.svg, \.pdf"):
        plotting.check_figure_path(tmp_path / "f.jpg")
