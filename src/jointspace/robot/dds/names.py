"""Names of nodes and topics, as ROS 2 resolves them: namespace, private names, remappings.

Source:
    "Topic and Service name mapping to DDS", design.ros2.org: a topic `/a/b` is `rt/a/b` on the
    wire. Substitutions in braces are left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jointspace.errors import ConfigError

_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_NODE = re.compile(_WORD)
_NAMESPACE = re.compile(rf"/|(/{_WORD})+")
_TOPIC = re.compile(rf"(~/|/)?{_WORD}(/{_WORD})*")


@dataclass(frozen=True)
class NodeName:
    """Who a node is, and how it resolves the names of its topics.

    Args:
        name: the node's own name, without a slash.
        namespace: where it lives: `/`, `/arm`; a missing first slash is added.
        remap: `from:=to`, both of them topics; the first that fits a topic applies.

    Raises:
        ConfigError: a name has characters that ROS 2 does not take, or a remapping is none.
    """

    name: str
    namespace: str = "/"
    remap: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _NODE.fullmatch(self.name):
            raise ConfigError(f"node name: got '{self.name}', expected letters, digits and '_'")
        absolute = self.namespace if self.namespace.startswith("/") else f"/{self.namespace}"
        if not _NAMESPACE.fullmatch(absolute):
            raise ConfigError(f"namespace: got '{self.namespace}', expected one such as /left_arm")
        object.__setattr__(self, "namespace", absolute)
        for rule in self.remap:
            source, separator, target = rule.partition(":=")
            if not separator:
                raise ConfigError(f"remap: got '{rule}', expected from:=to, two topics")
            self._expand(source), self._expand(target)

    @property
    def full_name(self) -> str:
        """The node's name with its namespace: `/arm/jointspace`."""
        return f"{self.namespace.rstrip('/')}/{self.name}"

    def topic(self, name: str) -> str:
        """Returns the full name of a topic, remapped where a rule says so.

        Args:
            name: `camera/image` (in the namespace), `/camera/image` or `~/image` (under the node).

        Raises:
            ConfigError: the name is no topic of ROS 2.
        """
        full = self._expand(name)
        for rule in self.remap:
            source, _, target = rule.partition(":=")
            if self._expand(source) == full:
                return self._expand(target)
        return full

    def _expand(self, name: str) -> str:
        if not _TOPIC.fullmatch(name) or "__" in name:
            raise ConfigError(
                f"topic: got '{name}', expected words of letters, digits and '_' between single "
                "slashes, none of them beginning with a digit, as in camera/image_raw"
            )
        if name.startswith("/"):
            return name
        if name.startswith("~"):
            return self.full_name + name[1:]
        return f"{self.namespace.rstrip('/')}/{name}"


def dds_topic(topic: str) -> str:
    """Returns how the full name of a topic is written on the wire: `rt/camera/image`."""
    return f"rt{topic}"
