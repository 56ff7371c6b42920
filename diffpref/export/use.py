"""How each form is used, for its card: the shortest code that stock programs need."""

USE = {
    "diffusers": """```python
import torch
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{base}", dtype=torch.float32)
pipe.load_lora_weights("FOLDER")  # this folder, or its id on the hub
pipe("your prompt").images[0].save("image.png")
```""",
    "peft": """```python
import torch
from diffusers import DiffusionPipeline
from peft import PeftModel

pipe = DiffusionPipeline.from_pretrained("{base}", dtype=torch.float32)
PeftModel.from_pretrained(pipe.unet, "FOLDER/unet")  # puts the LoRA into pipe.unet
pipe("your prompt").images[0].save("image.png")
```""",
    "kohya": """ComfyUI: put `{file}` into `models/loras`, add a *Load LoRA* node, strength 1.
A1111 and Forge: put it into `models/Lora` and write `<lora:{stem}:1>` in the prompt.
diffusers: `pipe.load_lora_weights("FOLDER", weight_name="{file}")`.

Strength 1 is as trained. The file has no trigger word: it changes what the model prefers to make,
not what it knows.""",
    "pipeline": """```python
import torch
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("FOLDER", dtype=torch.float32)  # or its id on the hub
pipe("your prompt").images[0].save("image.png")
```""",
    "user": """```python
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

pipe = DiffusionPipeline.from_pretrained("{base}", dtype=torch.float32)
pipe.load_ip_adapter(
    "FOLDER", subfolder="", weight_name="user_adapter.safetensors", image_encoder_folder=None
)
pipe.set_ip_adapter_scale(1.0)
e = load_file("profile.safetensors")["embedding"]  # a person's, of `diffpref profile fit`
told = [torch.stack([e, e])[:, None]]  # one for each branch of guidance
pipe("your prompt", ip_adapter_image_embeds=told).images[0].save("image.png")
```""",
}
"""Form -> Markdown."""


def use(form: str, *, base: str, file: str) -> str:
    """Return the section of a form."""
    text = USE[form].replace("{base}", base).replace("{file}", file)
    return text.replace("{stem}", file.removesuffix(".safetensors"))
