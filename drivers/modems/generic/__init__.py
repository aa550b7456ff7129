"""Modules by 3GPP TS 27.007 alone, and the base of every family."""

from pathlib import Path

from simrack.drivers.modems.family import Family
from simrack.drivers.modems.generic.driver import GenericDriver
from simrack.drivers.modems.sheet import load_sheet

FAMILY = Family(load_sheet(Path(__file__).parent), GenericDriver)
