import subprocess
import sys

SCRIPT = """
import torch
from pfsr.simulation.allocator import keep_freed_memory

answer = keep_freed_memory()
for _ in range(3):
    total = float(torch.ones(2_000_000).mul(2.0).sum())
print(type(answer).__name__, answer, total)
"""


def test_keeping_freed_memory_answers_yes_or_no_and_leaves_a_working_process():
    """In a process of its own, since it changes the whole process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind, answer, total = done.stdout.split()
    assert kind == "bool"
    assert total == "4000000.0"
    assert sys.platform.startswith("linux") or answer == "False"
