"""What the eight projects share. Importing it checks that the environment can run them."""

import importlib.util
import sys

PACKAGES = {  # import name -> name for pip
    "torch": "torch",
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "tyro": "tyro",
}

if sys.version_info < (3, 10):  # noqa: UP036 - said in words, not as a SyntaxError
    sys.exit("error: Python 3.10 or later is needed, and this is " + sys.version.split()[0])
_missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
if _missing:
    sys.exit(
        f"error: {', '.join(_missing)} cannot be imported: "
        f"run `{sys.executable} -m pip install -r requirements.txt` in the repository"
    )
