"""How torchrun's agent meets other machines where there are none: it is the only one, and no port is opened for it.

torch's own ways open a port to everybody (static, c10d), or keep a state that takes seconds to close once a process has died.
"""

from torch.distributed import FileStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousParameters, RendezvousStoreInfo, rendezvous_handler_registry

NAME = "workbench_alone"


class Alone(RendezvousHandler):
    """One machine; the endpoint is a file of its own."""

    def __init__(self, parameters: RendezvousParameters):
        self._file, self._run = parameters.endpoint, parameters.run_id

    @property
    def use_agent_store(self) -> bool:
        return False

    def get_backend(self) -> str:
        return NAME

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(FileStore(self._file, 1), 0, 1, RendezvousStoreInfo("127.0.0.1", 0))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run

    def shutdown(self) -> bool:
        return True


def register() -> None:
    """Let the agent know it."""
    rendezvous_handler_registry.register(NAME, Alone)
