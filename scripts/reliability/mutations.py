"""Mistakes that somebody might make, each with the tests that must notice it.

A mutation is exact text of one or more files and what stands there instead. Text that is not found
exactly once is an error: then the code has changed and the mutation must follow.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Edit:
    """`old` becomes `new` in a file."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A mistake, and pytest's arguments for the tests that must fail because of it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _change(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    edit = Edit(file=f"diffpref/{file}", old=old, new=new)
    told = tuple(test if test.startswith("-") else f"tests/{test}" for test in tests)
    return Mutation(name=name, edits=(edit,), tests=told)


_STORE = "diffpref/train/store.py"
_COMMIT = """self._stage(stage, step, files, text, identity)
            self._commit(stage, target)
"""

LOSSES = (
    _change("the sign of the loss is flipped", "losses/pair.py",
            "head=lambda u, _: -F.logsigmoid(u))", "head=lambda u, _: -F.logsigmoid(-u))",
            "test_losses.py"),
    _change("the reference is dropped", "losses/pair.py",
            "return policy if reference is None else policy - reference", "return policy",
            "test_losses.py"),
    _change("the reference enters with the wrong sign", "losses/pair.py",
            "return policy if reference is None else policy - reference",
            "return policy if reference is None else policy + reference",
            "test_losses.py"),
    _change("beta is halved", "losses/pair.py",
            "return self.beta * self.direction(label)",
            "return 0.5 * self.beta * self.direction(label)",
            "test_losses.py"),
    _change("the winner is the image with the lowest score", "labels.py",
            "(score == score.amax(dim=1, keepdim=True)).to(score.dtype)\n    return best",
            "(score == score.amin(dim=1, keepdim=True)).to(score.dtype)\n    return best",
            "test_labels.py"),
    _change("a tie is a win of the first image", "labels.py",
            "return best / best.sum(dim=1, keepdim=True)",
            "return torch.eye(best.shape[1])[best.argmax(dim=1)].to(score.dtype)",
            "test_labels.py"),
    _change("squared errors are summed", "numerics.py",
            "residual.flatten(1).square().mean(dim=1)", "residual.flatten(1).square().sum(dim=1)",
            "test_likelihoods.py"),
    _change("half precision is not widened", "numerics.py",
            "return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor",
            "return tensor", "test_likelihoods.py"),
    _change("the losses of a batch are summed", "objective.py",
            "return Loss((weight * value).mean(), metrics)",
            "return Loss((weight * value).sum(), metrics)",
            "methods/test_laws.py", "-k law_8"),
    _change("weights of rows are ignored", "objective.py",
            "return Loss((weight * value).mean(), metrics)", "return Loss(value.mean(), metrics)",
            "methods/test_laws.py", "-k law_9"),
    _change("KTO's baseline may be below zero", "losses/unpaired.py",
            "return r.mean().clamp(min=0)", "return r.mean()",
            "test_golden.py", "test_every_loss.py", "-k kto"),
    _change("the guard holds the winner back", "guards.py",
            "[one.where(loser_second, share), share.where(loser_second, one)]",
            "[share.where(loser_second, one), one.where(loser_second, share)]",
            "methods/test_objective.py", "test_golden.py"),
)  # fmt: skip

POINTS = (
    _change("images of a pair get noise of their own", "trajectories/forward.py",
            "        if shared:\n", "        if not shared:\n", "test_trajectories.py"),
    _change("noise follows the place in the batch", "draws.py",
            "[draw(generator(self.seed, int(p), stream, image)) for p in self.positions]",
            "[draw(generator(self.seed, p, stream, image)) for p in range(len(self.positions))]",
            "test_draws.py"),
    _change("the inversion divides by the noise of the step before", "trajectories/inversion.py",
            "return x_t, drift / levels.nu(t).to(wide)",
            "return x_t, drift / levels.nu((t - 1).clamp(min=0)).to(wide)",
            "test_inversion.py"),
    _change("the inversion's signal power is not the level's", "trajectories/inversion.py",
            "x_t = levels.signal(level).to(wide) * (start + drift)",
            "x_t = levels.abar(level).to(wide) * (start + drift)",
            "test_inversion.py"),
    _change("the KL is rewarded", "walk_objective.py",
            "value = value + self.kl * divergence", "value = value - self.kl * divergence",
            "methods/test_online_equations.py"),
    _change("ratios are not clamped", "kernel.py",
            "return ratio.clamp(low, high), outside", "return ratio, outside", "test_kernel.py"),
    _change("the surrogate is not clipped", "walk_objective.py",
            "value = -torch.minimum(rho * advantage, clipped * advantage)",
            "value = -(rho * advantage)",
            "methods/test_online_equations.py"),
    _change("the reference learns", "references/reference.py",
            "    @torch.no_grad()\n    def quiet(", "    def quiet(", "test_references.py"),
)  # fmt: skip

LEARNING = (
    _change("the average keeps the new and forgets the old", "train/ema.py",
            "1 - self.decay)", "self.decay)", "train/test_optim.py"),
    _change("processes' gradients are averaged twice", "train/backward.py",
            "torch.autograd.grad(scale * processes * loss.value, leaf)",
            "torch.autograd.grad(scale * loss.value, leaf)",
            "test_backward_coupled.py"),
    _change("only the first pass of rows is replayed", "train/backward.py",
            "for index in slices(len(point), size):\n        with",
            "for index in [slice(0, size)]:\n        with",
            "methods/test_laws.py", "-k law_3"),
    _change("a step with NaN is applied", "train/step.py",
            "agreed = bool(learner.processes.gather("
            "good[None].to(learner.processes.device)).all())",
            "agreed = True", "run/test_nan.py"),
    _change("a resumed run begins one window late", "train/loop.py",
            "iter(self.source(self.learner.nets, state.step))",
            "iter(self.source(self.learner.nets, state.step + bool(state.step)))",
            "run/test_resume.py", "-k sigterm"),
    _change("a resumed optimizer has forgotten its moments", "train/snapshot.py",
            "    load_optimizer(learner.optimizer, learner.parameters, found.tensors(OPTIMIZER))\n",
            "", "run/test_resume.py", "-k sigterm"),
    _change("a stop is obeyed without a checkpoint", "train/loop.py",
            "                self._write(state, best=False)\n                raise Preempted(",
            "                raise Preempted(", "run/test_resume.py", "-k sigterm"),
    _change("out of memory in the optimizer is tried again", "train/step.py",
            "        raise OutOfMemoryError(what, where=\"optimizer.name\", hint=OUT_OF_MEMORY) "
            "from error\n", "        raise\n", "run/test_faults.py", "-k optimizer"),
)  # fmt: skip

STORE = (
    _change("files are not flushed", "io/atomic.py",
            "        fs.fsync(handle)\n", "        pass\n", "train/test_store_power.py"),
    _change("the folder is not flushed after the rename", "train/store.py",
            "        self.fs.rename(stage, target)\n        self.fs.sync_folder(self.folder)\n",
            "        self.fs.rename(stage, target)\n", "train/test_store_power.py"),
    _change("old checkpoints go before the new one is there", "train/store.py",
            f"            {_COMMIT}",
            "            for old in list(self._retention.newest_first())[keep - 1 :]:\n"
            f"                self._retention.discard(old)\n            {_COMMIT}",
            "train/test_store_faults.py", "-k half-written"),
    Mutation(
        name="the name, and with it the manifest's promise, comes before the data",
        edits=(
            Edit(file=_STORE, old=_COMMIT,
                 new="self.fs.mkdir(stage)\n            self._commit(stage, target)\n"
                 "            self._stage(target, step, files, text, identity)\n"),
            Edit(file=_STORE, old="        self.fs.mkdir(stage)\n        written:",
                 new="        written:"),
        ),
        tests=("tests/train/test_store_faults.py", "-k half-written"),
    ),
    _change("the digest of a file is not checked", "train/manifest.py",
            'if digest.hexdigest() != expected.get("sha256"):', "if False:",
            "train/test_damaged_corpus.py"),
    _change("the manifest's own digest is not checked", "train/manifest.py",
            'if manifest.get("digest") != digest or canonical(manifest) != data:', "if False:",
            "train/test_damaged_corpus.py"),
    _change("the best checkpoint is pruned", "train/retention.py",
            "elif path.name != best:", "else:", "train/test_store.py"),
    _change("damaged checkpoints count as kept", "train/retention.py",
            "kept += sound\n", "kept += 1\n", "train/test_store.py"),
    _change("a torn line is glued to the next one", "io/journal.py",
            'b"\\n" + line if torn else line', "line", "io/test_atomic.py"),
)  # fmt: skip

DOORS = (
    _change("EXIF orientation is ignored", "io/images.py",
            "return image if turn is None else image.transpose(Image.Transpose[turn])",
            "return image", "io/test_image_door.py"),
    _change("transparency shows the colour below it", "io/images.py",
            'below.paste(layer.convert("RGB"), mask=layer.getchannel("A"))',
            'below.paste(layer.convert("RGB"))', "io/test_image_door.py"),
    _change("pixels are not counted before decoding", "io/images.py",
            "if width * height > max_pixels:", "if False:", "io/test_image_door.py"),
    _change("a link may lead out of the folder", "io/paths.py",
            "if not target.is_relative_to(folder):", "if False:", "io/test_paths_door.py"),
    _change("a key may stand twice in a row", "io/text.py",
            "if len(value) == len(pairs):", "if True:", "io/test_text_door.py"),
    _change("pickles are opened by torch's old rules", "io/weights.py",
            "weights_only=True, mmap=True", "weights_only=False, mmap=True",
            "io/test_weights_door.py"),
    _change("the words of a pickle are not read", "io/weights.py",
            "if opcode.name == \"GLOBAL\" and argument not in _PLAIN:", "if False:",
            "io/test_weights_door.py"),
    _change("any Host is welcome", "rate/gate.py",
            'if not self._known_host(_all(headers, "host")):', "if False:",
            "rate/test_hostile.py"),
    _change("other sites may post answers", "rate/gate.py",
            "if self._from_elsewhere(method, headers, opens=opens):", "if False:",
            "rate/test_hostile.py"),
    _change("a person's support shows the pair itself", "data/support.py",
            "if each != row and not self._seen[each] & self._seen[row]]", "if each != row]",
            "data/test_support.py"),
    _change("winner and loser of parquet are swapped", "data/readers/columns.py",
            '"scores": [label, 1 - label],', '"scores": [1 - label, label],',
            "data/test_parquet.py"),
    _change("a profile may be read by everybody", "users/profile_file.py",
            "fs=RealFs(mode=PRIVATE)", "fs=RealFs()", "users/test_profile_file.py"),
)  # fmt: skip

MUTATIONS = (*LOSSES, *POINTS, *LEARNING, *STORE, *DOORS)
