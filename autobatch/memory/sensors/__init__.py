"""Sensors: one module for each thing that is asked what memory there is; a new kind of limit or reading goes here.

`procfs` reads the host and its processes, `cgroup` the control groups and the memory pressure (PSI), `nvml` and `gpu`
the GPUs, `cuda_pool` CUDA's memory pool, `malloc` the C library's heap. Each returns values of `memory/types.py` and
notes on what could not be read; `memory/reading.py` puts them together.
"""
