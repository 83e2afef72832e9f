"""Where the services are: the environment, else ``endpoints.json`` in the state directory, else the usual ports on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Service = Literal["dataset", "training", "export", "inference"]
"""The four services by their names in variables and in ``endpoints.json``."""
ENDPOINTS_FILE = "endpoints.json"
"""In the state directory; a JSON object from each service's name to its host:port, written by ``yard up``."""
DEFAULT_ADDRESSES: dict[Service, str] = {
    "dataset": "127.0.0.1:50051",
    "training": "127.0.0.1:50052",
    "export": "127.0.0.1:50053",
    "inference": "127.0.0.1:50054",
}
"""Where the services listen unless told otherwise."""
DEFAULT_PROJECT = "default"
"""The project where VISIONYARD_PROJECT names none."""


def default_state_dir() -> Path:
    """``VISIONYARD_HOME``, else ``~/.local/share/visionyard``."""
    home = os.environ.get("VISIONYARD_HOME")
    return Path(home).expanduser().absolute() if home else Path.home() / ".local" / "share" / "visionyard"


def default_project() -> str:
    """``VISIONYARD_PROJECT``, else ``default``."""
    return os.environ.get("VISIONYARD_PROJECT") or DEFAULT_PROJECT


@dataclass(frozen=True)
class Endpoints:
    """Finds the services' addresses, afresh at each question: a stack that was started again may listen on other ports.

    Attributes:
        state_dir: The state directory of the embedded stack.
        fixed: Addresses that are given and go before everything else, by service.
    """

    state_dir: Path = field(default_factory=default_state_dir)
    fixed: dict[Service, str] = field(default_factory=dict)

    def address(self, service: Service) -> str:
        """The service's host:port."""
        return (
            self.fixed.get(service)
            or os.environ.get(f"VISIONYARD_{service.upper()}_ADDR")
            or self._recorded().get(service)
            or DEFAULT_ADDRESSES[service]
        )

    def _recorded(self) -> dict[str, str]:
        try:
            document = json.loads((self.state_dir / ENDPOINTS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(document, dict):
            return {}
        return {name: address for name, address in document.items() if isinstance(name, str) and isinstance(address, str)}
