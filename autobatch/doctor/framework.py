"""Findings about Keras and its backend."""

from collections.abc import Iterator

from autobatch.doctor.finding import Finding, ok, problem
from autobatch.doctor.surroundings import Surroundings

_INSTALL = "pip install 'tensorflow>=2.20' 'keras>=3.12', in the environment that runs this command."


def findings(seen: Surroundings) -> Iterator[Finding]:
    """Yields whether there is something to train with."""
    framework = seen.framework
    if framework.error is not None:
        yield problem("framework", "keras", f"Keras cannot be imported ({framework.error}).", _INSTALL)
        return
    if framework.backend_version is None:
        said = f"Keras {framework.keras_version} runs on {framework.backend}, for which there is no engine."
        yield problem(
            "framework", "keras", said, "Set KERAS_BACKEND=tensorflow, or the backend in ~/.keras/keras.json."
        )
        return
    yield ok("framework", "keras", f"Keras {framework.keras_version} runs on TensorFlow.")
    yield ok("framework", "tensorflow", f"TensorFlow {framework.backend_version}, {_build(seen)}; {_onednn(seen)}.")


def _build(seen: Surroundings) -> str:
    framework = seen.framework
    if not framework.cuda_build:
        return "built without CUDA"
    built_for = [
        f"CUDA {framework.cuda_version}" if framework.cuda_version else "CUDA",
        *([f"cuDNN {framework.cudnn_version}"] if framework.cudnn_version else []),
    ]
    return f"built for {' and '.join(built_for)}"


def _onednn(seen: Surroundings) -> str:
    words = {True: "oneDNN is used on the CPU", False: "oneDNN is not used", None: "whether it uses oneDNN is unknown"}
    return words[seen.framework.onednn]
