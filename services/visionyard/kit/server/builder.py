"""The one way to run a service.

A room's ``__main__.py``::

    def main() -> int:
        return run("dataset", parse_command_line(DatasetSettings, "dataset"), build_app)

    if __name__ == "__main__":
        sys.exit(main())
"""

from __future__ import annotations

from visionyard.kit.config import Settings
from visionyard.kit.server.app import App, BackgroundTask, Build, Service, StartupError

__all__ = ["App", "BackgroundTask", "Build", "Service", "StartupError", "run"]


def run(service: str, settings: Settings, build: Build[Settings]) -> int:
    """Runs a service until SIGTERM or SIGINT; returns the process's exit code: 0 after a drain, 1 where it could not start or a task died."""
    raise NotImplementedError
