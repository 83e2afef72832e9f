"""Asks a server for its health, for container health checks: ``python -m visionyard.kit.server.probe HOST:PORT``; exit code 0 when it serves."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def probe(address: str, timeout_s: float = 5.0) -> str:
    """The health state that the server at ``address`` gives for itself as a whole: "SERVING", "NOT_SERVING", or what went wrong."""
    # The server is this container's own: no proxy of the environment leads to it.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]  # types-grpcio-health-checking leaves the stub's methods out
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"no answer: {error.code().name}"
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main() -> int:
    """Prints the state of the server that the one argument names."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program's name and the address
        sys.stderr.write("usage: python -m visionyard.kit.server.probe HOST:PORT\n")
        return 2
    state = probe(sys.argv[1])
    sys.stdout.write(state + "\n")
    return 0 if state == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
