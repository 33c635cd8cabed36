"""The interface that each component of the control plane implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.controlplane.processes import Command


class Component(ABC):
    """A process of the control plane."""

    name: str

    @abstractmethod
    def command(self) -> Command:
        """Write the files that it is started with; return how it is started."""

    @abstractmethod
    def check(self) -> None:
        """Raise `NotYet` with the cause unless it is healthy."""

    def settle(self) -> None:
        """Do what it takes after the start until it is healthy; raise `NotYet` with the cause while it is not."""
        self.check()
