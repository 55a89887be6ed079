"""Names for Arrow's arrays and functions.

pyarrow's type stubs spell out overloads by element type; arrays of "whatever the registry
declares" fit few of them. Signatures here say what an array is and leave its elements open.
"""

from typing import Any, TypeAlias

import pyarrow.compute
import pyarrow.json

Array: TypeAlias = Any
"""A pyarrow.Array of any type."""

Structs: TypeAlias = Any
"""A pyarrow.StructArray: objects, one a row."""

Lists: TypeAlias = Any
"""A pyarrow.ListArray."""

compute: Any = pyarrow.compute
json: Any = pyarrow.json
