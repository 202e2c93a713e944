"""The TensorFlow backend. No TensorFlow type leaves this package, and importing it imports no TensorFlow."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from autobatch.backend.base import AllocatorChoice, Backend, Engine, ForwardEngine, Framework, Hints, StateVariable
from autobatch.backend.tensorflow import allocator
from autobatch.data.batch import Batch


class TensorFlowBackend:
    """An `autobatch.backend.base.Backend`; what needs TensorFlow is imported by the methods."""

    name = "tensorflow"
    title = "TensorFlow"
    packages: tuple[str, ...] = ("tensorflow",)
    environment: tuple[str, ...] = ("TF_", "XLA_", "DNNL_", "ONEDNN_")
    # Measured: 1.1 to 1.35 after 20 to 40 updates of MobileNetV2 and of a small convolutional net at various sizes.
    # What is in use includes up to 128 MiB too much for each large tensor (the pool does not split off less), so more
    # than 1.25 would count that twice.
    pool_growth = 1.25
    hints = Hints(
        install="pip install 'tensorflow>=2.20' 'keras>=3.12', in the environment that runs this command.",
        statistics="TensorFlow's default allocator keeps them (unset TF_GPU_ALLOCATOR).",
        gpu_build="pip install 'tensorflow[and-cuda]' (a build with CUDA; Linux only).",
        gpu_libraries="pip install 'tensorflow[and-cuda]' brings CUDA's libraries. What is missing is named by: "
        "TF_CPP_MIN_LOG_LEVEL=0 python -c 'import tensorflow; tensorflow.config.list_physical_devices()'",
    )

    def require_trainable(self, model: Any, group: int = 1) -> None:
        from autobatch.backend.tensorflow.batch_statistics import require_groupable
        from autobatch.backend.tensorflow.engine import require_supported

        require_supported(model)
        if group > 1:
            require_groupable(model)

    def require_runnable(self, model: Any, *, evaluates: bool) -> None:
        from autobatch.backend.tensorflow.forward import require_runnable

        require_runnable(model, evaluates=evaluates)

    def divides_by_counts(self, model: Any, *, weighted: bool) -> bool:
        from autobatch.backend.tensorflow.divisors import divides_by_counts

        return divides_by_counts(model, weighted=weighted)

    def engine(self, model: Any, example: Batch, *, rescaled: bool = False, group: int = 1) -> Engine:
        from autobatch.backend.tensorflow.engine import TensorFlowEngine

        return TensorFlowEngine(model, example, rescaled=rescaled, group=group)

    def forward_engine(self, model: Any, example: Batch, *, evaluates: bool) -> ForwardEngine:
        from autobatch.backend.tensorflow.forward import TensorFlowForwardEngine

        return TensorFlowForwardEngine(model, example, evaluates=evaluates)

    def preserved(self, model: Any) -> AbstractContextManager[None]:
        from autobatch.backend.tensorflow.variables import preserved

        return preserved(model)

    def preserved_random_states(self) -> AbstractContextManager[None]:
        from autobatch.backend.tensorflow.variables import preserved_random_states

        return preserved_random_states()

    def state_variables(self, model: Any, *, shared_seed: bool | None = None) -> list[StateVariable]:
        from autobatch.backend.tensorflow.variables import state_variables

        return state_variables(model, shared_seed=shared_seed)

    def settings(self) -> dict[str, Any]:
        from autobatch.backend.tensorflow.config import read_settings

        return read_settings()

    def apply_settings(self, values: dict[str, Any]) -> None:
        from autobatch.backend.tensorflow.config import write_settings

        write_settings(values)

    def describe(self, keras_version: str) -> Framework:
        from autobatch.backend.tensorflow.config import describe_tensorflow

        return describe_tensorflow(keras_version)

    accelerator = staticmethod(allocator.accelerator)
    accelerator_names = staticmethod(allocator.accelerator_names)
    allocator_figures = staticmethod(allocator.read_allocator)
    has_started = staticmethod(allocator.has_started)
    why_host_memory_stays = staticmethod(allocator.why_host_memory_stays)
    plan_sharing = staticmethod(allocator.plan_sharing)

    def idle_pool_bytes(self) -> int:
        figures = allocator.allocator_bytes(allocator.CPU)
        return figures[1] - figures[0] if figures else 0

    def allocator_choices(
        self, environ: Mapping[str, str], *, onednn: bool, returns_freed: bool
    ) -> tuple[AllocatorChoice, AllocatorChoice]:
        return allocator.on_cpu(environ, onednn=onednn, returns_freed=returns_freed), allocator.on_gpu(environ)

    def release_device_memory(self, driver: Any = None) -> tuple[int | None, str | None]:
        return allocator.trim_device_pools(allocator.gpu_numbers(), driver)


BACKEND: Backend = TensorFlowBackend()
