"""One domain of DDS for each test, so that tests do not hear each other."""

import os
import socket

# Ports of higher domains lie where Linux hands out ports to others.
LAST_DOMAIN = 101

_given = set()


def _is_free(domain_id):
    """Whether no participant listens where the first of a domain would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", 7410 + 250 * domain_id))
        except OSError:
            return False
    return True


def free_domain():
    """Returns a domain that nobody on this machine uses, and that was not returned before."""
    first = os.getpid() % LAST_DOMAIN
    for each in range(first, first + LAST_DOMAIN):
        candidate = 1 + each % LAST_DOMAIN
        if candidate not in _given and _is_free(candidate):
            _given.add(candidate)
            return candidate
    raise RuntimeError("no domain is free")
