"""Files of public data sets: taken from a folder, or downloaded once and checked, or asked for in one sentence."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyndereg.experiments.data import cifar10, downloads, mnist, physionet
from pyndereg.experiments.data.downloads import PublicFile, find_files

CONTENT = b"numbers"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path):
    """A web site on this machine that offers one file; the address it has."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "numbers.gz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "pyndereg"


def public_file(*addresses, content=CONTENT):
    return PublicFile("numbers.gz", "numbers", hashlib.sha256(content).hexdigest(), addresses)


def test_a_file_in_the_folder_is_taken_packed_or_not(tmp_path):
    (tmp_path / "numbers.gz").write_bytes(CONTENT)
    assert find_files([public_file()], tmp_path, data="Numbers") == [tmp_path / "numbers.gz"]
    (tmp_path / "numbers").write_bytes(CONTENT)
    assert find_files([public_file()], tmp_path, data="Numbers") == [tmp_path / "numbers"]


def test_a_file_missing_from_the_folder_is_named_and_not_downloaded(tmp_path, site, cache):
    with pytest.raises(
        FileNotFoundError, match=r"Numbers is not in .*; put numbers\.gz there, or leave out --data-dir"
    ):
        find_files([public_file(f"{site}/numbers.gz")], tmp_path / "elsewhere", data="Numbers")
    assert not cache.exists()


def test_a_file_is_downloaded_once(site, cache):
    file = public_file(f"{site}/numbers.gz")
    assert find_files([file], None, data="Numbers") == [cache / "numbers.gz"]
    assert (cache / "numbers.gz").read_bytes() == CONTENT
    offline = public_file("http://127.0.0.1:9/numbers.gz")
    assert find_files([offline], None, data="Numbers") == [cache / "numbers.gz"]


def test_the_next_address_is_tried_where_one_fails(site, cache):
    file = public_file(f"{site}/nothing.gz", f"{site}/numbers.gz")
    assert find_files([file], None, data="Numbers") == [cache / "numbers.gz"]


def test_a_file_with_another_checksum_is_refused(site, cache):
    file = public_file(f"{site}/numbers.gz", content=b"other numbers")
    with pytest.raises(FileNotFoundError, match=r"numbers\.gz: another file at 127\.0\.0\.1"):
        find_files([file], None, data="Numbers")
    assert not (cache / "numbers.gz").exists()


def test_without_network_one_sentence_says_what_to_put_where(cache):
    file = public_file("http://127.0.0.1:9/numbers.gz")
    with pytest.raises(FileNotFoundError) as caught:
        find_files([file], None, data="Numbers")
    assert str(caught.value) == (
        f"Numbers is not in {cache} and could not be downloaded (numbers.gz: ConnectionError at 127.0.0.1:9); "
        f"put numbers.gz there, or into another folder and pass it as --data-dir"
    )


def test_without_pooch_a_folder_still_works_and_a_download_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "POOCH_IS_INSTALLED", False)
    (tmp_path / "numbers").write_bytes(CONTENT)
    assert find_files([public_file()], tmp_path, data="Numbers") == [tmp_path / "numbers"]
    with pytest.raises(ModuleNotFoundError, match=r"pooch, which is not installed; run pip install"):
        find_files([public_file()], None, data="Numbers")


@pytest.mark.parametrize("file", [*mnist.FILES, cifar10.ARCHIVE, *physionet.SETS], ids=lambda file: file.name)
def test_every_public_file_has_a_whole_checksum_and_addresses_that_end_in_its_name(file):
    assert len(bytes.fromhex(file.sha256)) == hashlib.sha256().digest_size
    assert file.addresses
    assert all(address.startswith("https://") and address.endswith(f"/{file.name}") for address in file.addresses)
