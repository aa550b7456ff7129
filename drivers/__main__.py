"""`python -m simrack.drivers` prints docs/modules.md from the sheets."""

import sys

from simrack.drivers.modems.sheet import render
from simrack.drivers.registry import families

sys.stdout.write(render(family.sheet for family in families().values()))
