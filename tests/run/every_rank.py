"""A run of which every process writes the weights and the optimizer's state it ends with."""

import sys
from pathlib import Path

from accelerate import Accelerator

from diffpref.config import load_config
from diffpref.io import save_tensors
from diffpref.run import execute as running
from diffpref.run.assemble import Assembled
from diffpref.train.manifest import Checkpoint
from diffpref.train.optim import optimizer_tensors

END = "rank-{}.safetensors"


def main(config: str, out: str) -> None:
    export = running.export_kept

    def told(
        run: Assembled, kept: Checkpoint | None, folder: Path, accelerator: Accelerator
    ) -> None:
        learner = run.learner
        held = {f"weight/{name}": value.detach() for name, value in learner.parameters.items()}
        state = optimizer_tensors(learner.optimizer, learner.parameters)
        held |= {f"state/{name}": value for name, value in state.items()}
        save_tensors(folder / END.format(accelerator.process_index), held)
        export(run, kept, folder, accelerator)

    running.export_kept = told
    running.execute(load_config(Path(config)), out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[sys.argv.index("--out") + 1])
