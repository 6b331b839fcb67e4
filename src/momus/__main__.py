"""`python -m momus`."""

import sys

from momus.cli import main

sys.exit(main())
