"""What can be wrong with a graph that is named on the command line."""

from greenroom.protocol.errors import InvalidInput


class GraphNotLoaded(InvalidInput):
    """The name leads to no graph: a file or module that is not there or cannot be read, a name
    that is not in it, or something else than a graph. The text says which, and what to do.
    """

    code = "graph_not_loaded"
