import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


def launch(processes: int, out: Path, items: int = 16, *more: str) -> dict[str, torch.Tensor]:
    """Run the toy student under ``accelerate launch`` and return its weights."""
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--num_processes={processes}"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--num_cpu_threads_per_process=1"]
    command += ["--multi_gpu", "--main_process_port=0"] if processes > 1 else ["--cpu"]  # several on a CPU: torchrun
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "PYTHONWARNINGS": "ignore"}
    script = [str(HERE / "two_processes.py"), str(out), str(items), *more]
    done = subprocess.run([*command, *script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = load_file(out)
    assert found.pop("processes").item() == processes
    return found


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    """Up to the order of float32 sums: gradients are averaged over two halves instead of one whole."""
    one, two = launch(1, tmp_path / "one.safetensors"), launch(2, tmp_path / "two.safetensors")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=1e-3)


def test_two_processes_with_adapters_on_one_base_equal_one(tmp_path):
    """And the base is the same in both, to the last bit."""
    one, two = (launch(n, tmp_path / f"{n}.safetensors", 16, "lora") for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=1e-3)
    base = [name for name in one if "lora_" not in name and "head." not in name]
    assert base
    assert all(torch.equal(one[name], two[name]) for name in base)
    moved = [name for name in one if "lora_B" in name and one[name].any()]
    assert {name.split(".")[0] for name in moved} == {"student", "fake_score"}


def test_a_process_that_saw_only_its_own_half_would_be_noticed(tmp_path):
    """The tolerance above is far below the change that half a batch makes."""
    whole, other = launch(1, tmp_path / "a.safetensors"), launch(1, tmp_path / "b.safetensors", items=8)
    apart = max((whole[name] - other[name]).abs().max().item() for name in whole)
    assert apart > 2e-2
