"""A server of real HTTP for tests: many may knock at once, and none of them waits a second to be heard."""

from http.server import ThreadingHTTPServer


class LocalHTTPServer(ThreadingHTTPServer):
    """A threading server on a free port of this machine.

    Python's own lets five connections wait; of sixty at once the others are not heard and try again a second later.
    """

    request_queue_size = 256
    daemon_threads = True
