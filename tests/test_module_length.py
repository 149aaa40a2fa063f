"""How long a module may be."""

from pathlib import Path

import mlcharge_flows

LONGEST = 400
"""Lines."""


def test_no_module_is_longer_than_400_lines():
    root = Path(mlcharge_flows.__file__).parent
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted(root.rglob("*.py"))
    }
    assert lengths
    assert {path: n for path, n in lengths.items() if n > LONGEST} == {}
