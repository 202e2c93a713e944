"""Where memory readings come from: the kernel's files, control groups, NVML, CUDA's pool, the C library's heap."""
