"""``python -m reportd.cli``."""

import sys

from reportd.cli.main import main

sys.exit(main())
