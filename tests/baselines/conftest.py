import sys
from pathlib import Path

# The reader of the golden files.
sys.path.insert(0, str(Path(__file__).parents[1] / "sop"))
