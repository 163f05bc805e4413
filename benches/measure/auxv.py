"""Runs a command to which the kernel does not give its auxiliary vector by prctl(2).

    python3 auxv.py COMMAND [ARGUMENT]...

valgrind runs a program without the vDSO and takes it out of the auxiliary vector. PR_GET_AUXV (Linux 6.4), which valgrind
does not know, tells the program of it all the same, and what finds it there crashes. Refused, programs look where
valgrind has been (/proc/self/auxv).
"""
import ctypes
import os
import platform
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
PR_GET_AUXV = 0x41555856
PRCTL = {"x86_64": 157, "aarch64": 167}
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: 32-bit word at an offset; ==; constant
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 22  # linux/seccomp.h: SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EINVAL


def main() -> None:
    number = PRCTL.get(platform.machine())
    if number is not None:
        # struct seccomp_data: number at 0, the first argument's low half at 16. (code, if true, if false, value)
        program = b"".join(struct.pack("HBBI", *step) for step in (
            (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 3, number),
            (LOAD, 0, 0, 16), (JUMP_IF_EQUAL, 0, 1, PR_GET_AUXV),
            (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)))
        steps = ctypes.create_string_buffer(program, len(program))
        filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(steps)))
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filter_), 0, 0) != 0:
            sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
