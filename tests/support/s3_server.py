"""moto's S3 server, with conditional writes that are atomic as Amazon's are.

`python -m tests.support.s3_server PORT`. moto looks whether an object is there, and then
writes it; requests are served by threads, so two could find nothing. Here one writes at a time.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
writing = threading.Lock()


def application(environ, start_response):
    """The WSGI application."""
    if environ["REQUEST_METHOD"] != "PUT":
        return moto(environ, start_response)
    with writing:
        return list(moto(environ, start_response))


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
