"""Cuts the power of the ext4 mounted at argv[1]: EXT4_IOC_SHUTDOWN without flushing the journal."""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
EXT4_GOING_FLAGS_NOLOGFLUSH = 2

mount = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(mount, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
