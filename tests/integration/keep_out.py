"""Keeps every reader out of a SQLite log, or every writer, from outside: `python keep_out.py readers|writers LOG`, until its input ends.

Readers: the write-ahead log's read locks are taken exclusively, byte by byte, as SQLite itself would (walformat.html, "WAL Locks").
"""

import fcntl
import os
import sqlite3
import sys
import time

READ_LOCKS = range(123, 128)

if __name__ == "__main__":
    whom, path = sys.argv[1:]
    if whom == "writers":
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        connection.execute("BEGIN EXCLUSIVE")
    else:
        descriptor = os.open(f"{path}-shm", os.O_RDWR)
        for byte in READ_LOCKS:
            while True:
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                    break
                except OSError:  # somebody reads at this moment
                    time.sleep(0.001)
    print("kept out", flush=True)
    sys.stdin.read()
