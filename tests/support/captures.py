"""Packets that cross a bridge of test machines, as a listener between two hosts sees them."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

ETH_P_ALL, ETH_P_IP, TCP = 3, 0x0800, 6
# Linux's <linux/if_packet.h>; Python has no names for them.
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1


class Capture:
    """Collects the TCP payloads from and to some ports while it is open, in `seen`, and counts their `packets`.

    Without ports, it collects every packet of IPv4 as a whole.
    """

    def __init__(self, interface: str, ports: set[int] | None = None) -> None:
        self.seen = bytearray()
        self.packets = 0
        self._ports = ports
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((interface, ETH_P_ALL))
        # Without it a bridge shows what is for this machine, and not what one of its ports sends to another.
        promiscuous = struct.pack("IHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)
        self._socket.settimeout(0.5)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._ends.is_set():
            try:
                frame = self._socket.recv(65535)
            except TimeoutError:
                continue
            payload = self._find_payload(frame)
            if payload:
                self.packets += 1
                self.seen += payload

    def _find_payload(self, frame: bytes) -> bytes:
        if self._ports is None:
            return frame[14:] if struct.unpack_from("!H", frame, 12)[0] == ETH_P_IP else b""
        if len(frame) < 54 or struct.unpack_from("!H", frame, 12)[0] != ETH_P_IP or frame[23] != TCP:
            return b""
        begin = 14 + 4 * (frame[14] & 0xF)
        if not self._ports & set(struct.unpack_from("!HH", frame, begin)):
            return b""
        length = struct.unpack_from("!H", frame, 16)[0]
        return frame[begin + 4 * (frame[begin + 12] >> 4) : 14 + length]
