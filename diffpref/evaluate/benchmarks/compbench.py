"""T2I-CompBench: six categories of 300 validation prompts, ten images each."""

from pathlib import Path

import torch

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.files import field, json_list, number, text_lines


def read_compbench(path: Path) -> list[Item]:
    """Return the prompts of one category's .txt file; what follows a tab is not read.

    Source: Karine-Huang/T2I-CompBench, examples/dataset, read by GORS_finetune/inference_eval.py.

    Raises:
        DataError: there is no such file, or no text in it.
    """
    texts = [line.split("\t")[0].strip() for _, line in text_lines(path)]
    return [
        Item(prompt=prompt, id=str(n), group=path.stem)
        for n, prompt in enumerate(text for text in texts if text)
    ]


def compbench_names(item: Item, n: int) -> list[str]:
    """Return samples/PROMPT_000120.png and on; the number counts through all prompts.

    Source: the README's Evaluation; GORS_finetune/inference_eval.py. The evaluators read the
    prompt back from the name, up to the first underscore, and the number from behind the last.

    Raises:
        DataError: a file name cannot say this prompt.
    """
    for bad in ("_", "/", "\\"):
        if bad in item.prompt:
            hint = f"the evaluator reads prompts from file names: leave out '{bad}'"
            what = f"'{item.prompt[:60]}' cannot be a file name of this benchmark"
            raise DataError(what, where="--layout", hint=hint)
    return [f"samples/{item.prompt}_{int(item.id) * n + k:06d}.png" for k in range(n)]


def summarise_compbench(path: Path) -> Summary:
    """Return the mean answer over images.

    What an answer is depends on the category's evaluator: the product of BLIP-VQA's P(yes) over
    at most eight noun phrases, UniDet's score, CLIP's cosine, or their mean (3-in-1); all write the
    same vqa_result.json. The file does not say which images share a prompt, so there is no
    interval.

    Source: the README's Evaluation; BLIPvqa_eval/BLIP_vqa.py.

    Raises:
        DataError: not such a file, or a question twice.
    """
    answers: dict[int, float] = {}
    for place, row in enumerate(json_list(path)):
        where = f"{path}: item {place}"
        question = int(str(field(row, "question_id", int, where)))
        if question in answers:
            raise DataError(f"question {question} appears twice", where=where, hint="keep one")
        answers[question] = number(field(row, "answer", (str, int, float), where), where)
    if not answers:
        hint = "give the vqa_result.json of the category's evaluator"
        raise DataError("holds no answers", where=str(path), hint=hint)
    mean = float(torch.tensor(list(answers.values()), dtype=torch.float64).mean())
    full = 300 * COMPBENCH_LAYOUT.published
    short = f"{len(answers)} images; published numbers have {full}: ten of each of 300 prompts"
    return Summary(
        lines=(),
        overall=(Line(name=path.parent.name or "overall", value=mean, n=len(answers)),),
        rule="mean over images of the category's own score",
        notes=() if len(answers) == full else (short,),
    )


COMPBENCH_LAYOUT = Layout(names=compbench_names, published=10)
COMPBENCH = Benchmark(
    read=read_compbench,
    prompts="one category's .txt file, such as color_val.txt",
    layout=COMPBENCH_LAYOUT,
    summarise=summarise_compbench,
    results="vqa_result.json of the category's evaluator",
)
