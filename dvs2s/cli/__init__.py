"""Front ends: one module a command."""

import os

# torch's threads wait for each other by spinning. With one busy neighbour on the machine long
# spins make every step several times slower (docs/log.md), so they are kept
# short; this must stand before torch is imported, and whoever sets it otherwise is heeded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
