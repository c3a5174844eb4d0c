import sys
from pathlib import Path

# tests are imported by path: what they share is found beside them
sys.path.append(str(Path(__file__).parent))
