"""How much memory there is: sensors, limits and the peak model. Knows NVML, psutil, /proc and /sys; knows no Keras."""
