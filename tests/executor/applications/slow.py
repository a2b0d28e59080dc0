"""Takes its time to be imported."""

import os
import threading
from pathlib import Path

(Path(os.environ["TEST_FOLDER"]) / "importing").touch()
threading.Event().wait(60)
