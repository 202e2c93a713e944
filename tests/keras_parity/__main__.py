"""Runs Keras' own tests of `fit` by Keras and by `autobatch.fit`, and says which of them differ.

    python tests/keras_parity            # all of them
    python tests/keras_parity trainers/trainer_test.py -k steps

Needs Keras' test files, which its wheel holds beside the modules. Arguments from the first that begins with a dash on
go to pytest.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras

HERE = Path(__file__).resolve().parent
KERAS = Path(keras.__file__).parent / "src"
PATTERNS = (
    "trainers/trainer_test.py",
    "trainers/data_adapters/tf_dataset_adapter_test.py",
    "callbacks/*_test.py",
    "optimizers/*_test.py",
)

REFUSALS = "must not be cut", "samples and no others"


def outcomes(mode: str, files: list[str], options: list[str], folder: Path) -> dict[str, dict[str, object]]:
    log = folder / f"{mode}.jsonl"
    log.touch()
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "KERAS_BACKEND": "tensorflow",
        "AUTOBATCH_PARITY": mode,
        "AUTOBATCH_PARITY_LOG": str(log),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=no",
        "-p",
        "plugin",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    command += [f"--rootdir={KERAS}", "--import-mode=importlib", *options, *files]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode not in {0, 1}:  # 1: some tests failed
        sys.exit(f"pytest ended with status {ran.returncode}.\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")
    lines = map(json.loads, log.read_text().splitlines())
    return {line["test"]: line for line in lines}


def main() -> None:
    given = sys.argv[1:]
    dash = next((at for at, word in enumerate(given) if word.startswith("-")), len(given))
    files = sorted(str(path) for pattern in given[:dash] or PATTERNS for path in KERAS.glob(pattern))
    with tempfile.TemporaryDirectory() as folder:
        keras_own = outcomes("keras", files, given[dash:], Path(folder))
        passed = [test for test, line in keras_own.items() if line["passed"] and line["fits"]]
        print(f"plain Keras: {len(passed)} tests that call fit pass", flush=True)
        for mode in ("whole", "cut"):
            ours = outcomes(mode, files, given[dash:], Path(folder))
            failed = {
                test: str(ours.get(test, {}).get("error", "did not run"))
                for test in passed
                if not ours.get(test, {}).get("passed")
            }
            refused = sum(any(words in error for words in REFUSALS) for error in failed.values())
            said = f", and {refused} that must not be cut are refused" if refused else ""
            print(f"autobatch, {mode}: {len(passed) - len(failed)} of {len(passed)}{said}", flush=True)
            for test, error in failed.items():
                print(f"  {test}: {error}")


if __name__ == "__main__":
    main()
