"""All documented classes.

The submodules of the same names are loaded first, so that ``Provider.AllenAI`` is the class by
attribute and ``penstock.g4f.Provider.AllenAI`` the module by import.
"""

from penstock.g4f.Provider import AllenAI as _allenai
from penstock.g4f.Provider import H2o as _h2o
from penstock.g4f.Provider import OpenAssistant as _openassistant
from penstock.g4f.Provider import Replicate as _replicate

AllenAI = _allenai.AllenAI
H2o = _h2o.H2o
OpenAssistant = _openassistant.OpenAssistant
Replicate = _replicate.Replicate

__all__ = ["AllenAI", "H2o", "OpenAssistant", "Replicate"]
