"""The machine below: files, processes, memory, threads, and faults for the tests."""
