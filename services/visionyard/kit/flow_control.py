"""How far a gRPC stream is read ahead of its reader, the same at both ends of every channel.

By default HTTP/2's window is small at first and follows a measured bandwidth; between processes of one machine it stays so small that a sender of 1 MiB messages is
woken for every few frames of 16 KiB. A fixed window lets it write on: over loopback (grpc 1.81, two busy cores, 1 MiB messages) a megabyte took 4.1 ms of CPU at both
ends together (2.2 of them the sender's), and takes 2.8 (0.9). Over a long line a stream moves at most a window a round trip, by arithmetic 20 MB/s at 200 ms.
"""

from __future__ import annotations

WINDOW_BYTES = 4 << 20
"""What one stream may hold that nobody has read yet."""
OPTIONS: tuple[tuple[str, int], ...] = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", WINDOW_BYTES))
"""For channels and servers; https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
