"""IP addresses: which of them are reachable by anybody, and which lead inwards (SSRF).

The table is our own: the standard library's answer changes with its version, and a decision has to replay. Source: the IANA
special purpose address registries (RFC 6890), RFC 6598, RFC 4193, RFC 3879. Refuses to know names.
"""

import ipaddress
from functools import lru_cache
from typing import Final

_INWARD_4: Final = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is a metadata service
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, deprecated
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_INWARD_6: Final = tuple(
    ipaddress.IPv6Network(net)
    for net in (
        "2001::/23",  # IETF protocol assignments; Teredo is looked into first
        "2001:db8::/32",
        "3fff::/20",  # documentation, RFC 9637
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")
_LOW_32: Final = 0xFFFF_FFFF
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


@lru_cache(maxsize=1024)
def inward_4(address: ipaddress.IPv4Address) -> bool:
    """Whether an IPv4 address is anything but an ordinary public one."""
    return any(address in net for net in _INWARD_4)


@lru_cache(maxsize=1024)
def inward_6(address: ipaddress.IPv6Address) -> bool:
    """Whether an IPv6 address, or an IPv4 address inside it, is anything but an ordinary public one.

    Mapped, NAT64, 6to4, Teredo and ISATAP addresses carry an IPv4 address that a gateway on the way may unpack.
    """
    number = int(address)
    if address.ipv4_mapped is not None:
        return inward_4(address.ipv4_mapped)
    if address in _NAT64:
        return inward_4(ipaddress.IPv4Address(number & _LOW_32))
    if address in _6TO4:
        return inward_4(ipaddress.IPv4Address(number >> 80 & _LOW_32))
    if address in _TEREDO:
        server, client = number >> 64 & _LOW_32, ~number & _LOW_32
        return inward_4(ipaddress.IPv4Address(server)) or inward_4(ipaddress.IPv4Address(client))
    if address not in _GLOBAL_6 or any(address in net for net in _INWARD_6):
        return True
    return number >> 32 & _LOW_32 in _ISATAP and inward_4(ipaddress.IPv4Address(number & _LOW_32))
