"""Runs the Python of each repository's card as a reader would: nothing of the kit is imported here.

python usage_process.py REPOSITORY...   Prints one line of JSON, what each snippet printed.
"""

import contextlib
import io
import json
import re
import sys

from huggingface_hub import ModelCard
from PIL import Image

Image.new("RGB", (40, 30), "red").save("photo.jpg")
said = {}
for name in sys.argv[1:]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for snippet in re.findall(r"```python\n(.*?)```", ModelCard.load(f"me/{name}").text, re.DOTALL):
            exec(snippet, {})
    said[name] = printed.getvalue().strip()
print(json.dumps(said))
