"""Makes what the plain twins share importable by the tests beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
