"""Parameters of a layer begun otherwise than by its cell."""

from __future__ import annotations

from elman.cells.initialisation import Rule
from elman.cells.initialisation import initialise as initialise_cell
from elman.nn.recurrent import Recurrent


def initialise(layer: Recurrent, **rules: Rule) -> Recurrent:
    """Fills parameters anew, in every layer and direction, gate by gate.

    Args:
        layer: the layer, changed in place.
        rules: by the cell's name of a parameter (`weight_hh`, without the suffix of layer and direction), one of
            `elman.cells.initialisation.INITIALISATIONS` or a number, or a mapping from gates to these.

    Returns:
        The layer.

    Raises:
        elman.UserError: there is no such parameter, gate or initialisation.

    Example:
        >>> layer = Recurrent("lstm", 3, 2, num_layers=2, bidirectional=True)
        >>> _ = initialise(layer, weight_hh="orthogonal", bias_hh={"f": 1.0})
        >>> layer.bias_hh_l1_reverse[2:4].tolist()
        [1.0, 1.0]
    """
    for index, _, suffix in layer.stack.passes():
        spec = layer.stack.specs[index]
        params = {name: layer.get_parameter(name + suffix) for name in spec.params}
        initialise_cell(spec, params, rules)
    return layer
