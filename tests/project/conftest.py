import asyncio
import threading

import pytest

from detector.bundle import load_bundle
from service.server import DetectionServer
from service.settings import Settings


@pytest.fixture(scope="session")
def default_server():
    """Address of a running server with the bundled default."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=120)

    settings = Settings(port=0, metrics_port=0, drain_delay_s=0)
    server = run(DetectionServer.start(load_bundle(), settings))
    yield server.address
    assert run(server.drain())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()
