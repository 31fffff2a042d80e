"""Prints a command of the README: the fenced block that follows the comment `<!-- command: NAME -->`."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text()
found = re.search(rf"<!-- command: {re.escape(sys.argv[1])} -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
if not found:
    sys.exit(f"README.md has no command named {sys.argv[1]}")
print(found.group(1).strip())
