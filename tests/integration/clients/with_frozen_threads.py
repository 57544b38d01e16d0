"""Freezes threads of a process as a debugger does, and lets go of them at the end of its input.

  with_frozen_threads.py PID NAME

Stops every thread whose name begins with NAME, and prints how many there are. Needs the right to trace the process.
"""

import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WAIT_ALL = 0x40000000


def main(pid, name):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    frozen = 0
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        with open(f"/proc/{pid}/task/{thread}/comm") as comm:
            if not comm.read().startswith(name):
                continue
        for request in [PTRACE_SEIZE, PTRACE_INTERRUPT]:
            if libc.ptrace(request, thread, None, None) != 0:
                sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
        os.waitpid(thread, WAIT_ALL)
        frozen += 1
    print(f"frozen {frozen}", flush=True)
    # A tracer that ends lets go of what it has seized.
    sys.stdin.read()


main(sys.argv[1], sys.argv[2])
