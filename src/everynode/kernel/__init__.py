"""The only user of ctypes and raw system calls, behind one small protocol."""
