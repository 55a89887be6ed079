"""`python -m entra_pipeline.simulator`."""

import sys

from entra_pipeline.simulator.server import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
