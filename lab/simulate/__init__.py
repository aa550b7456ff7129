"""The whole rack in one process on a virtual clock: real controller, real boxes, emulated world, faults by seed."""
