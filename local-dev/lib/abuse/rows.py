"""The ways to abuse a server, each a function that does it for a while and says what was answered wrongly."""

import gzip
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from server import Server, operation

# A beginning of brotli with the largest window, which says that more follows.
BROTLI = bytes([0x0F, 0x00, 0x00, 0x80]) + bytes(32)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Sizes:
    """How much of everything; the short form is for every run of the tests."""

    def __init__(self, is_short: bool):
        self.is_short = is_short

    def __call__(self, full: int, short: int) -> int:
        return short if self.is_short else full


def statuses(answers: list[tuple[int, bytes]], *expected: int) -> list[str]:
    """What was answered with another status than these."""
    return sorted({f"{status}: {body[:200]!r}" for status, body in answers if status not in expected})


def at_once(count: int, ask) -> list:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(ask, range(count)))


def large(mib: float = 0.85) -> dict:
    return {"text": "x" * int(mib * (1 << 20)), "n": 0}


def fill(server: Server, count: int, data, names="doc") -> list[str]:
    """Pushes so many documents, as many at once as a body takes."""
    problems, waiting, size = [], [], 0
    for number in range(count):
        made = operation(f"fill-{names}-{number}", f"{names}-{number}", number + 1, data(number), client=f"fill-{names}")
        waiting.append(made)
        size += len(json.dumps(made))
        if size > 8 << 20 or len(waiting) == 1_000 or number + 1 == count:
            problems += statuses([server.push(waiting)], 200)
            waiting, size = [], 0
    return problems


def nested(levels: int, mib: float) -> dict:
    inner: object = {"text": "x" * int(mib * (1 << 20))}
    for _ in range(levels - 3):
        inner = {"k": inner}
    return {"k": inner}


def query_all(server: Server, conditions: dict, count: int) -> list[str]:
    def pages(_: int) -> list[tuple[int, bytes]]:
        answers, cursor = [], None
        for _ in range(100):
            answers.append(server.ask("/documents/todos/query", {"filter": conditions, "cursor": cursor}))
            cursor = json.loads(answers[-1][1]).get("cursor") if answers[-1][0] == 200 else None
            if not cursor:
                break
        return answers

    return statuses([answer for answers in at_once(count, pages) for answer in answers], 200, 503)


def deep_queries(server: Server, size: Sizes) -> list[str]:
    """queries of 64 conditions over documents of 1 MiB nested 60 levels"""
    problems = fill(server, size(40, 3), lambda _: nested(60, 0.9))
    path = ".".join(["k"] * 57)
    return problems + query_all(server, {f"{path}.a{number}": None for number in range(64)}, size(10, 3))


def wide_queries(server: Server, size: Sizes) -> list[str]:
    """queries of 64 conditions over 100,000 small documents"""
    problems = fill(server, size(100_000, 1_000), lambda number: {"n": number, "tags": ["a", "b"]})
    return problems + query_all(server, {f"missing{number}": None for number in range(64)}, size(12, 3))


def updates_of_many(server: Server, size: Sizes) -> list[str]:
    """one-key updates of 400 large documents, also in conflict"""
    count = size(400, 12)
    problems = fill(server, count, lambda _: large())
    for round, client in enumerate(["evil", "evil", "other"]):
        seen = {} if client == "other" else {"fill-doc": count}
        updates = [
            operation(
                f"{client}-{round}-{number}",
                f"doc-{number}",
                number + 1 + round * count,
                {"n": number},
                "update",
                client,
                seen | {client: number + 1 + round * count},
            )
            for number in range(count)
        ]
        # More documents than a push may load are a 400, and so are conflicts with more than an answer may have.
        is_too_much = not size.is_short or client == "other"
        problems += statuses([server.push(updates)], 200, 503, *([400] if is_too_much else []))
    return problems


def updates_of_one(server: Server, size: Sizes) -> list[str]:
    """1,000 one-key updates of one document of 0.9 MB"""
    problems = fill(server, 1, lambda _: large())
    updates = [
        operation(f"u-{n}", "doc-0", n + 1, {"n": n}, "update", clock={"fill-doc": 1, "evil": n + 1})
        for n in range(size(1_000, 100))
    ]
    return problems + statuses([server.push(updates)], 200, 503)


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(server.address, timeout=20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return connection


def send(server: Server, connection: socket.socket, data: bytes) -> None:
    """Sends as much as the server takes; it may close the connection at any time."""
    try:
        connection.settimeout(2)
        connection.sendall(data)
        server.bytes_sent += len(data)
    except OSError:
        pass


def head(server: Server, path: str, headers: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {server.authorization}\r\n{headers}\r\n".encode()


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


def text(value: str) -> bytes:
    """A text as HPACK has it, without Huffman's code (RFC 7541, section 5.2)."""
    data = value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    length, rest = bytearray([127]), len(data) - 127
    while rest > 127:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes([rest]) + data


def headers_frame(server: Server, stream: int, path: str, encoding: str | None, ends: bool) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
    fields.append(("authorization", server.authorization))
    if encoding:
        fields.append(("content-encoding", encoding))
    block = b"".join(b"\0" + text(name) + text(value) for name, value in fields)
    return frame(1, 4 | (1 if ends else 0), stream, block)


def linger(server: Server, connections: list[socket.socket], seconds: float) -> None:
    """Waits, and leaves the connections open."""
    time.sleep(seconds)
    server.left_open += connections


def unfinished_bodies(server: Server, size: Sizes) -> list[str]:
    """bodies in gzip, brotli and plain text that do not end, over HTTP/1.1 and HTTP/2"""
    bomb = gzip.compress(b" " * (10 << 20))[:-9]
    connections = []
    for number in range(size(300, 60)):
        encoding, body = [("gzip", bomb), ("br", BROTLI), ("identity", b" " * (9 << 20))][number % 3]
        connections.append(connect(server))
        headers = f"content-encoding: {encoding}\r\ncontent-length: {10 << 20}\r\n"
        send(server, connections[-1], head(server, "/changes", headers) + body)
    for encoding, body in [("gzip", bomb), ("br", BROTLI)] * size(4, 1):
        connections.append(connect(server))
        frames = [PREFACE, frame(4, 0, 0)]
        for stream in range(1, 300, 2):
            frames.append(headers_frame(server, stream, "/changes", encoding, False))
            if len(body) < 100 or stream == 1:
                frames.append(frame(0, 0, stream, body[:16_000]))
        send(server, connections[-1], b"".join(frames))
    linger(server, connections, size(10, 3))
    return []


def unread_answers(server: Server, size: Sizes) -> list[str]:
    """answers that nobody reads, over HTTP/1.1 and over HTTP/2 with a closed window"""
    problems = fill(server, 5, lambda _: large(0.8))
    connections = []
    for number in range(size(150, 50)):
        connections.append(connect(server))
        encoding = "accept-encoding: br\r\n" if number % 3 == 0 else ""
        send(server, connections[-1], (head(server, "/changes", encoding + "content-length: 2\r\n") + b"{}") * 8)
    for _ in range(size(8, 2)):
        connections.append(connect(server))
        # No byte of a body may be sent (RFC 9113, section 6.5.2).
        frames = [PREFACE, frame(4, 0, 0, (4).to_bytes(2, "big") + (0).to_bytes(4, "big"))]
        for stream in range(1, 64, 2):
            frames += [headers_frame(server, stream, "/changes", None, False), frame(0, 1, stream, b"{}")]
        send(server, connections[-1], b"".join(frames))
    linger(server, connections, size(10, 3))
    return problems


def silent_connections(server: Server, size: Sizes) -> list[str]:
    """connections that send nothing, a part of a greeting, or only answer pings"""
    connections = []
    for number in range(size(3_000, 300)):
        try:
            connections.append(connect(server))
        except OSError:
            continue
        beginning = [b"", PREFACE[:12], PREFACE + frame(4, 0, 0), b"GET /hea", b"x" * 20_000][number % 5]
        send(server, connections[-1], beginning)
    for _ in range(size(10, 2)):
        for connection in connections[2::5]:
            send(server, connection, frame(6, 1, 0, bytes(8)))
        time.sleep(1)
    linger(server, connections, 0)
    return []


def many_keys(server: Server, size: Sizes) -> list[str]:
    """nine documents of 85,000 keys"""
    keys = {f"{number:x}": 1 for number in range(85_000)}
    return fill(server, size(9, 2), lambda _: keys)


def refused_bodies(server: Server, size: Sizes) -> list[str]:
    """filter values of 10 MB, 1.5 million keys and 950,000 entries of a clock, all of which are refused"""
    keys = b",".join(b'"%x":1' % number for number in range(size(900_000, 100_000)))
    values = b'{"filter":{"a":"' + b"x" * size(10_000_000, 3_000_000) + b'"}}'
    filters = b'{"filter":{' + keys + b"}}"
    made = operation("op", "doc", 1, {})
    made["vectorClock"] = "CLOCK"
    push = json.dumps({"clientId": "evil", "operations": [made]}).encode()
    clock = push.replace(b'"CLOCK"', b"{" + b",".join(b'"%x":1' % n for n in range(size(800_000, 100_000))) + b"}")
    paths = ["/documents/todos/query", "/documents/todos/query", "/operations"]
    bodies = list(zip(paths, [values, filters, clock]))
    answers = at_once(size(24, 6), lambda number: server.ask(*bodies[number % 3]))
    return statuses(answers, 400, 413, 503)


def tombstones(server: Server, size: Sizes) -> list[str]:
    """300,000 tombstones, and clients that sync from nothing"""
    problems, made = [], 0
    for batch in range(size(300, 2)):
        operations = []
        for number in range(500):
            made += 2
            name = f"doc-{batch}-{number}"
            operations.append(operation(f"i-{made}", name, made - 1, {}))
            operations.append(operation(f"d-{made}", name, made, None, "delete"))
        problems += statuses([server.push(operations)], 200)

    def sync(_: int) -> list[tuple[int, bytes]]:
        answers, cursor = [], None
        for _ in range(2_000):
            answers.append(server.ask("/changes", {"cursor": cursor, "limit": 1_000}))
            page = json.loads(answers[-1][1])
            cursor = page.get("cursor")
            if answers[-1][0] != 200 or not page.get("hasMore"):
                break
        return answers

    return problems + statuses([answer for answers in at_once(size(8, 2), sync) for answer in answers], 200, 503)


def many_clients(server: Server, size: Sizes) -> list[str]:
    """more than 1,000 new client ids, and compactions"""
    count = size(1_500, 100)

    def use(number: int) -> list[tuple[int, bytes]]:
        client = f"client-{number}"
        made = operation(f"op-{number}", f"doc-{number}", 1, {"n": number}, client=client)
        return [server.push([made]), server.ask("/changes", {"clientId": client, "since": 0})]

    with ThreadPoolExecutor(8) as threads:
        answers = [answer for both in threads.map(use, range(count)) for answer in both]
    answers += [server.ask("/compact", {"olderThanDays": 0}) for _ in range(5)]
    return statuses(answers, 200, 503)


def unread_log(server: Server, size: Sizes) -> list[str]:
    """a log that nobody reads"""
    path = "/" + "x" * 200
    return statuses([server.ask(path) for _ in range(size(20_000, 1_000))], 404)


ROWS = [
    deep_queries,
    wide_queries,
    updates_of_many,
    updates_of_one,
    unfinished_bodies,
    unread_answers,
    silent_connections,
    many_keys,
    refused_bodies,
    tombstones,
    many_clients,
    unread_log,
]
