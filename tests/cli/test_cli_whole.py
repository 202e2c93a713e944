"""The command as a shell starts it, on a real model."""

import json
import os
import subprocess
import sys

import pytest

# of Keras' models the one with the fewest layers, without its huge ones
MODEL = "keras.applications:VGG16?include_top=false&pooling=avg&input_shape=32,32,3"


@pytest.mark.slow
def test_a_model_of_keras_is_probed_without_pictures_or_a_line_of_python(tmp_path):
    code = f"import sys; sys.path[:] = {sys.path!r}; from autobatch.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["probe", MODEL, "--loss", "mse", "--optimizer", "sgd", "--largest", "--max-batch", "2", "--json"]
    environ = os.environ | {"AUTOBATCH_CACHE_DIR": str(tmp_path / "cache"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--device", "cpu", "-o", "report.html"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=tmp_path,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["outcome"], data["exit_code"], data["result"]["batch_size"]) == ("found", 0, 2)
    assert any("synthetic" in note for note in data["result"]["notes"])
    assert done.stderr.count("trial ") == len(data["trials"])
    assert "applications:VGG16?" in (tmp_path / "report.html").read_text()
