"""Runs a program under a system call filter (seccomp), as systemd's SystemCallFilter= does.

  with_filter.py errno|kill CALL,... PROGRAM ARGUMENT...

Each of the calls is refused with EPERM, or kills the process.
"""

import ctypes
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"sched_setscheduler": 144, "sched_setparam": 142, "sched_setattr": 314, "setpriority": 141, "splice": 275},
    "aarch64": {"sched_setscheduler": 119, "sched_setparam": 118, "sched_setattr": 274, "setpriority": 140, "splice": 76},
}[platform.machine()]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
EPERM = 1
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06


def main(action, calls, program):
    refuse = {"errno": ERRNO | EPERM, "kill": KILL_PROCESS}[action]
    steps = [struct.pack("HBBI", LOAD_WORD, 0, 0, 0)]
    for call in calls.split(","):
        steps.append(struct.pack("HBBI", JUMP_EQUAL, 0, 1, NUMBERS[call]))
        steps.append(struct.pack("HBBI", RETURN, 0, 0, refuse))
    steps.append(struct.pack("HBBI", RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(steps))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0)]:
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execv(program[0], program)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
