"""A Pushgateway on loopback that keeps what is put into it, and reads it as the real one does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.parser import text_string_to_metric_families


class Pushgateway(ThreadingHTTPServer):
    """Groups of metrics by path; a PUT replaces a group."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.groups: dict[str, dict[str, list[tuple[dict[str, str], float]]]] = {}
        self.refuses = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Pushgateway  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_PUT(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        # The real one knows neither OpenMetrics' types nor its end (pushgateway issues 400 and 479).
        readable = "version=0.0.4" in self.headers["Content-Type"] and "# EOF" not in text and " info\n" not in text
        if self.server.refuses or not readable:
            self.send_error(400, self.server.refuses or "text format parsing error")
            return
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        group: dict[str, list[tuple[dict[str, str], float]]] = {}
        for sample in samples:
            group.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        self.server.groups[self.path] = group
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@contextmanager
def pushgateway() -> Iterator[Pushgateway]:
    """Serve until the block ends."""
    server = Pushgateway()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
