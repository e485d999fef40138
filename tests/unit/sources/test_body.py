"""Bodies that are too large, endless, damaged, too deep: sent by a real server, read by the client of the sources."""

from __future__ import annotations

import functools
import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_phlo.exceptions import SourceRejectedError, SourceUnavailableError
from airflow_provider_phlo.sources.http import JsonClient, Limits

MEGABYTE = 1024 * 1024
LIMIT = MEGABYTE
Write = Callable[[socket.socket], None]


@pytest.fixture
def raw() -> Iterator[Callable[[Write], str]]:
    """Serve what a function writes to the socket, once per connection; return the URL."""
    listeners: list[socket.socket] = []

    def serve(write: Write) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        write(connection)
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.close()


def answer(content: bytes, *headers: str, length: int | None = None) -> Write:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(content) if length is None else length}", *headers, "", ""]
    return lambda connection: connection.sendall("\r\n".join(lines).encode() + content)


def endless(*headers: str, piece: bytes = b" " * 65536, chunked: bool = False, pause: float = 0.0) -> Write:
    lines = ["HTTP/1.1 200 OK", *headers, *(["Transfer-Encoding: chunked"] if chunked else []), "", ""]

    def write(connection: socket.socket) -> None:
        connection.sendall("\r\n".join(lines).encode())
        while True:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
            time.sleep(pause)

    return write


def read(url, patience, *, attempts=1, **limits):
    limits = {"response_bytes": LIMIT, **limits}
    return JsonClient(url, "some_api", retry=patience.policy(attempts=attempts), limits=Limits(**limits)).get("/x").body


@functools.cache
def packed(size: int) -> bytes:
    """Return the gzip stream of a JSON text of that many bytes."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [pack.compress(b'["')] + [pack.compress(b"a" * MEGABYTE) for _ in range(size // MEGABYTE)]
    return b"".join([*pieces, pack.compress(b'"]'), pack.flush()])


# made by the tests that send them: a second of work that collection need not do
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "gzip": (lambda: packed(400 * MEGABYTE), "gzip"),
    "x-gzip": (lambda: packed(4 * MEGABYTE), "x-gzip"),
    "deflate": (lambda: zlib.compress(b'["' + b"a" * 4 * MEGABYTE + b'"]'), "deflate"),
    "members": (lambda: gzip.compress(b"[" + b" " * MEGABYTE) + gzip.compress(b" " * MEGABYTE + b"]"), "GZIP"),
    "plain": (lambda: b"[" + b" " * 2 * MEGABYTE + b"]", "identity"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", BOMBS)
def test_case_32_a_body_that_is_too_large_is_refused(raw, patience, kind):
    make, encoding = BOMBS[kind]
    url = raw(answer(make(), f"Content-Encoding: {encoding}"))
    tracemalloc.start()
    with pytest.raises(SourceRejectedError, match=r"some_api: GET .*/x answered with more than 1,048,576 bytes"):
        read(url, patience)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * MEGABYTE


@pytest.mark.long
@pytest.mark.parametrize(
    "write",
    [
        endless(),
        endless(chunked=True),
        endless("Content-Encoding: gzip", piece=gzip.compress(b"")),
        endless("Content-Encoding: gzip", piece=packed(2 * MEGABYTE), chunked=True),
        endless(f"Content-Length: {10**15}"),
    ],
    ids=["until close", "chunks", "empty gzip members", "gzip in chunks", "an absurd length"],
)
def test_case_32_an_endless_body_is_refused(raw, patience, write):
    with pytest.raises(SourceRejectedError, match="answered with more than 1,048,576 bytes"):
        read(raw(write), patience)


def test_case_32_a_body_that_drips_for_ever_ends(raw, patience):
    url = raw(endless(piece=b" ", pause=0.02))
    with pytest.raises(SourceUnavailableError, match=r"did not end within 0 s, after 2 attempts"):
        read(url, patience, attempts=2, response_seconds=0.3)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "*"])
def test_case_32_an_encoding_that_was_not_asked_for_is_refused(raw, patience, encoding):
    with pytest.raises(SourceRejectedError, match="an encoding that was not asked for"):
        read(raw(answer(b"[]", f"Content-Encoding: {encoding}")), patience)


def test_case_32_the_body_of_a_redirect_or_an_error_is_not_read(raw, patience):
    for status, error in (("302 Found", SourceRejectedError), ("500 Oops", SourceUnavailableError)):

        def write(connection: socket.socket, status: str = status) -> None:
            connection.sendall(f"HTTP/1.1 {status}\r\nLocation: /x\r\n\r\n".encode())
            while True:
                connection.sendall(b" " * 65536)

        with pytest.raises(error, match=r"redirected more than 5|answered 500"):
            read(raw(write), patience)


def test_case_32_a_refusal_with_an_endless_body_is_a_refusal(raw, patience):
    def write(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with pytest.raises(SourceRejectedError, match="answered 403"):
        read(raw(write), patience)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "", "identity"])
def test_what_fits_is_unpacked(raw, patience, encoding):
    content = json.dumps(["Grüße"] * 1000).encode()
    packings = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
    body = packings.get(encoding, bytes)(content)
    assert read(raw(answer(body, f"Content-Encoding: {encoding}")), patience) == ["Grüße"] * 1000


def test_a_body_of_exactly_the_limit_is_read(raw, patience):
    content = b"[" + b" " * (LIMIT - 2) + b"]"
    assert read(raw(answer(content)), patience) == []
    assert read(raw(answer(gzip.compress(content), "Content-Encoding: gzip")), patience) == []


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_gzip_stream_that_is_cut_is_not_taken_for_whole(raw, patience, cut):
    """Also when the JSON in it happens to be complete."""
    content = gzip.compress(b"[1]") if cut < 20 else gzip.compress(b"[" + b"1," * 10_000 + b"1]")
    with pytest.raises(SourceUnavailableError, match="truncated"):
        read(raw(answer(content[:-cut], "Content-Encoding: gzip")), patience)


def test_a_body_that_is_not_what_its_encoding_says_is_unavailable(raw, patience):
    with pytest.raises(SourceUnavailableError, match="cannot be decompressed"):
        read(raw(answer(b"[1]", "Content-Encoding: gzip")), patience)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-8-sig", "iso-8859-1"])
def test_a_body_is_read_in_the_encoding_it_has(raw, patience, encoding):
    url = raw(answer('["Zoë"]'.encode(encoding), f"Content-Type: application/json; charset={encoding}"))
    assert read(url, patience) == ["Zoë"]


def test_a_body_in_no_encoding_at_all_is_not_json(raw, patience):
    for charset in ("nonsense", "utf-8"):
        with pytest.raises(SourceUnavailableError, match="not JSON"):
            read(raw(answer(b'["\xff"]', f"Content-Type: application/json; charset={charset}")), patience)


@pytest.mark.parametrize("form", ["[", '{"a":', '[{"a":'])
def test_case_13_json_nested_too_deeply_is_refused(raw, patience, form):
    url = raw(answer(form.encode() * 100_000))
    with pytest.raises(SourceRejectedError, match=r"answered JSON that is nested too deeply to be read.*Set host"):
        read(url, patience)


def test_case_13_numbers_of_thousands_of_digits_stay_text(raw, patience):
    digits = "9" * 5000
    content = f'[{{"a": 1, "b": {digits}}}, {{"a": 12345678901234567890, "b": -{digits}}}, {{"a": 2.5, "b": 1e999}}]'
    assert read(raw(answer(content.encode())), patience) == [
        {"a": 1, "b": digits},
        {"a": 12345678901234567890, "b": "-" + digits},
        {"a": 2.5, "b": "1e999"},
    ]
    assert read(raw(answer(b'[{"a": 2.5, "b": -1E400}]')), patience) == [{"a": 2.5, "b": "-1E400"}]


@pytest.mark.parametrize("content", ['[{"a": 1, "a": 2}]', '{"a": 1, "a": 2}', '[{"x": [{"a": {}, "a": {}}]}]'])
def test_case_13_a_name_twice_is_refused_where_records_are_not_judged(raw, patience, content):
    with pytest.raises(SourceRejectedError, match="an object has the same name twice"):
        read(raw(answer(content.encode())), patience)
