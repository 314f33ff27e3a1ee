"""The policy in force: one reference, swapped whole. Readers keep the object they took; nobody sees half a bundle."""

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp


class PolicyInForce:
    """Holds the current `Pdp`. Without one, every action is refused with `no_policy`."""

    def __init__(self, pdp: Pdp | None = None) -> None:
        self._pdp = pdp

    def current(self) -> Pdp:
        """The bundle in force.

        Raises:
            OperatorError: `no_policy`: none was ever loaded.
        """
        if self._pdp is None:
            raise OperatorError(Reason.NO_POLICY, "no policy bundle is loaded")
        return self._pdp

    @property
    def ready(self) -> bool:
        """Whether a bundle is in force."""
        return self._pdp is not None

    def swap(self, pdp: Pdp) -> None:
        """Put a new bundle in force for every decision that starts from now on."""
        self._pdp = pdp
