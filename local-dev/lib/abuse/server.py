"""The server that is abused: its process, what it takes, and who uses it meanwhile."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

SECRET = "a secret for nothing but this program"

# How long one request may take before it is given up.
PATIENCE_SECONDS = 120

# Everything that the server takes has to be free again so long after the last byte.
RELEASE_SECONDS = 60

# A connection that holds nothing may stay open for 75 s; the rest is for a slow machine.
IDLE_SECONDS = 90

# The server has 256 MiB for all requests, 4 MiB of them for pushes alone. If bodies of this size leave next to nothing
# of it, nobody else has any.
BODY_MIB, BODIES = 9, 26


def token(tenant: str) -> str:
    """A JSON Web Token for the admin of a tenant."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = {"sub": "somebody", "exp": int(time.time()) + 86_400, "tenants": tenant, "role": "admin"}
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return signed + "." + encoded(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))


class Server:
    """A server in a directory of its own. Its log is read and thrown away, unless a pipe of it is left unread."""

    def __init__(self, program: str, settings: dict[str, str], reads_log: bool = True):
        self.directory = tempfile.TemporaryDirectory(prefix="syncflow-abuse.")
        of_server = {"PORT": "0", "AUTH_HS256_SECRET": SECRET, "AUTH_TENANT_CLAIM": "tenants", "HTTP2": "on"}
        log = open(self.path("log"), "wb") if reads_log else subprocess.PIPE
        self.process = subprocess.Popen(
            [program], env=of_server | settings, cwd=self.directory.name, stdout=subprocess.PIPE, stderr=log
        )
        self.address = self.read_address()
        self.left_open: list[socket.socket] = []
        self.authorization = "Bearer " + token("evil")
        self.bytes_sent = 0

    def path(self, name: str) -> str:
        return os.path.join(self.directory.name, name)

    def read_address(self) -> tuple[str, int]:
        assert self.process.stdout
        while line := self.process.stdout.readline().decode():
            if found := re.match(r"listening +http://([^:]+):(\d+)", line):
                return found[1], int(found[2])
        raise RuntimeError("the server does not start: " + pathlib.Path(self.path("log")).read_text())

    def open_connections(self) -> int:
        """How many connections of clients the server has open; its own ones to a database are not among them."""
        process = pathlib.Path(f"/proc/{self.process.pid}")
        held = set()
        for file in (process / "fd").iterdir():
            try:
                held.add(os.readlink(file))
            except OSError:
                pass
        port, listening = f":{self.address[1]:04X}", "0A"
        rows = [row.split() for row in (process / "net/tcp").read_text().splitlines()[1:]]
        taken = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(port) and row[3] != listening}
        return len(held & taken)

    def mib(self, kind: str) -> int:
        """The resident memory of the process: VmRSS is that of now, VmHWM the most that it was."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(kind + r":\s+(\d+) kB", status)
        return int(found[1]) // 1024 if found else 0

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(
        self, path: str, body: object = None, headers: dict[str, str] | None = None, authorization: str = ""
    ) -> tuple[int, bytes]:
        """One request over a connection of its own. A body that is not a text is sent as JSON."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS)
        data = body if isinstance(body, bytes | None) else json.dumps(body, separators=(",", ":")).encode()
        if not authorization:
            self.bytes_sent += len(data or b"")
        try:
            all_headers = {"authorization": authorization or self.authorization} | (headers or {})
            connection.request("GET" if data is None else "POST", path, data, all_headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def push(self, operations: list[dict]) -> tuple[int, bytes]:
        return self.ask("/operations", {"clientId": operations[0]["clientId"], "operations": operations})

    def seconds_to_release(self, last_byte_at: float) -> float | None:
        """How long after the last byte all memory of requests was free and the connections were closed; nothing if too long.

        The connections of a row stay open on its side, so that the server has to close them. The question about the
        memory makes room itself, so it comes once, at the end of the time. Connections may be idle for longer.
        """
        closed_within = self.seconds_to_close(last_byte_at, RELEASE_SECONDS)
        if not self.all_memory_is_free():
            return None
        return closed_within or self.seconds_to_close(last_byte_at, IDLE_SECONDS)

    def seconds_to_close(self, last_byte_at: float, seconds_max: float) -> float | None:
        while (seconds := time.monotonic() - last_byte_at) < seconds_max:
            if not self.open_connections():
                return seconds
            time.sleep(0.2)
        return None

    def all_memory_is_free(self) -> bool:
        """Holds nearly all memory of requests at once; a request without room would be answered with 503, or cut off."""
        body = b" " * (BODY_MIB << 20)
        head = f"POST /documents/nothing/query HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token('good')}\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        connections, answers = [], []
        try:
            for _ in range(BODIES):
                connections.append(socket.create_connection(self.address, timeout=PATIENCE_SECONDS))
                connections[-1].sendall(head.encode() + body[:-1])
            for connection in connections:
                connection.sendall(b" ")
                answers.append(connection.makefile("rb").readline())
        except OSError:
            return False
        finally:
            for connection in connections:
                connection.close()
        return all(b" 200 " in answer for answer in answers)

    def let_go(self) -> None:
        """Closes the connections that a row has left open."""
        for connection in self.left_open:
            connection.close()
        self.left_open.clear()

    def stop(self, seconds: float = PATIENCE_SECONDS) -> float | None:
        """Tells the server to stop; says how long that took, or nothing if it did not do so by itself."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            return time.monotonic() - began if self.process.wait(seconds) == 0 else None
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.let_go()
            self.process.kill()
            self.process.wait()
            if self.process.stderr:
                self.process.stderr.close()
            if self.process.stdout:
                self.process.stdout.close()
            self.directory.cleanup()


class Bystander:
    """Somebody else, who asks for the health of the server and pushes something small, again and again."""

    def __init__(self, server: Server):
        self.server, self.longest, self.problems = server, {"health": 0.0, "push": 0.0}, []
        self.is_done, self.number = threading.Event(), 0
        self.authorization = "Bearer " + token("good")
        self.threads = [threading.Thread(target=self.repeat, args=(what,)) for what in (self.health, self.push)]
        for thread in self.threads:
            thread.start()

    def health(self) -> int:
        return self.server.ask("/health", authorization=self.authorization)[0]

    def push(self) -> int:
        self.number += 1
        pushed = operation(f"good-{self.number}", f"doc-{self.number}", 1, {"title": "x"}, client=f"good-{self.number}")
        body = {"clientId": pushed["clientId"], "operations": [pushed]}
        return self.server.ask("/operations", body, authorization=self.authorization)[0]

    def repeat(self, what) -> None:
        name = what.__name__
        while True:
            began = time.monotonic()
            try:
                status = what()
            except (OSError, http.client.HTTPException) as problem:
                status = type(problem).__name__
            self.longest[name] = max(self.longest[name], time.monotonic() - began)
            if status != 200:
                self.problems.append(f"{name} of somebody else: {status}")
            if self.is_done.wait(0.2):
                return

    def finish(self) -> None:
        self.is_done.set()
        for thread in self.threads:
            thread.join()


def operation(
    name: str, document: str, counter: int, data: object, kind: str = "insert", client: str = "evil", clock=None
) -> dict:
    made = {
        "id": name,
        "type": kind,
        "collection": "todos",
        "docId": document,
        "clientId": client,
        "timestamp": counter,
        "vectorClock": clock or {client: counter},
    }
    return made if data is None else made | {"data": data}
