"""The root of the project's loggers. It is silent until the host configures logging."""

import logging
from typing import Final

LOGGER: Final = logging.getLogger("greenroom")
# Without a handler of its own, warnings would go to the host's standard error unasked.
LOGGER.addHandler(logging.NullHandler())
