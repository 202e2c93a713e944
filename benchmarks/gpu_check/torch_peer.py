"""accelerate's and Lightning's search for a batch size, on a real model: `python torch_peer.py NAME`.

It is a conv net at 224 pixels, large enough that a batch of some thousands fits no GPU. Nothing of autobatch is
imported: it runs in the Python in which PyTorch is.
"""

import importlib.util
import json
import sys
import tempfile
import time
from itertools import pairwise
from typing import Any

PIXELS, SAMPLES = 224, 1 << 16
_START = 16_384


def say(kind: str, **facts: Any) -> None:
    print(json.dumps({"kind": kind, "at_s": time.monotonic(), **facts}), flush=True)


def net() -> Any:
    from torch import nn

    widths, layers = (3, 64, 64, 128, 256), []
    for taken, given in pairwise(widths):
        layers += [nn.Conv2d(taken, given, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def accelerate() -> int:
    """`find_executable_batch_size` from a batch that is too large, as it is meant to be used."""
    import torch
    from accelerate.utils import find_executable_batch_size

    @find_executable_batch_size(starting_batch_size=_START)
    def train(batch_size: int) -> int:
        model = net().cuda()
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(3):
            x = torch.zeros(batch_size, 3, PIXELS, PIXELS, device="cuda")
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.cuda.synchronize()
        return batch_size

    found: int = train()
    return found


def lightning() -> int:
    """`Tuner.scale_batch_size` in its mode by default, which doubles until it runs out."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.tuner import Tuner

    class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, _: int) -> Any:
            return torch.zeros(3, PIXELS, PIXELS)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.batch_size, self.net = 2, net()

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(Pictures(), batch_size=self.batch_size)

        def training_step(self, batch: Any, _: int) -> Any:
            return self.net(batch).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="gpu",
            devices=1,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            max_epochs=1,
        )
        return int(Tuner(trainer).scale_batch_size(Module()) or 0)


def main(name: str) -> int:
    absent = [one for one in ("torch", name) if importlib.util.find_spec(one) is None]
    if absent:
        say("missing", why=f"{' and '.join(absent)} not installed")
        return 0
    import torch

    if not torch.cuda.is_available():
        say("missing", why="PyTorch sees no GPU")
        return 0
    found = {"accelerate": accelerate, "lightning": lightning}[name]()
    say("found", size=found, ran_out=None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
