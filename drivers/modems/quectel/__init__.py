"""Quectel LTE modules."""

from pathlib import Path

from simrack.drivers.modems.family import Family
from simrack.drivers.modems.quectel.driver import QuectelDriver
from simrack.drivers.modems.sheet import load_sheet

FAMILY = Family(load_sheet(Path(__file__).parent), QuectelDriver)
