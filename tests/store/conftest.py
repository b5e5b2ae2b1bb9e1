"""What the tests of this folder share stands beside them (`change_kit.py`, `journal_kit.py`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
