import sys
from pathlib import Path

for folder in ("core", "methods"):  # helpers of both
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
