import os
import socket
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from two_processes import STUDENTS, trained, write

# Of forks, by Python 3.12 and newer: what these two need works in them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
HERE = Path(__file__).parent
Weights = dict[str, torch.Tensor]


def fork(out: Path) -> None:
    """Train in two copies of this process, which need not import everything again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [get_context("fork").Process(target=_be, args=(rank, port, out)) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]


def _be(rank: int, port: int, out: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    who = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    who |= {"OMP_NUM_THREADS": 1}  # accelerate warns of setting it, and a warning is an error here
    os.environ |= {name: str(value) for name, value in who.items()}
    write(out)


def launch(out: Path) -> None:
    """Train in two new processes, by ``accelerate launch``."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1"]
    command += ["--mixed_precision=no", "--dynamo_backend=no", "--num_cpu_threads_per_process=1"]
    command += ["--multi_gpu", "--main_process_port=0"]  # several on a CPU: torchrun
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "PYTHONWARNINGS": "ignore"}
    script = [str(HERE / "two_processes.py"), str(out)]
    done = subprocess.run([*command, *script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module", params=[fork, pytest.param(launch, marks=pytest.mark.slow)], ids=["fork", "launch"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    """The weights of the toy students, trained by two processes."""
    out = tmp_path_factory.mktemp("two")
    request.param(out)
    found = {name: load_file(out / f"{name}.safetensors") for name in STUDENTS}
    assert {weights.pop("processes").item() for weights in found.values()} == {2}
    return found


def alone(name: str, items: int = 16) -> Weights:
    """The same, by this process alone."""
    found = trained(name, items)
    assert found.pop("processes").item() == 1
    return found


def test_two_processes_equal_one_with_the_doubled_batch(two: dict[str, Weights]):
    """Up to the order of float32 sums: gradients are averaged over two halves instead of one whole."""
    one = alone("copies")
    assert one.keys() == two["copies"].keys()
    for name, value in one.items():
        torch.testing.assert_close(two["copies"][name], value, atol=2e-4, rtol=1e-3)


def test_two_processes_with_adapters_on_one_base_equal_one(two: dict[str, Weights]):
    """And the base is the same in both, to the last bit."""
    one = alone("lora")
    for name, value in one.items():
        torch.testing.assert_close(two["lora"][name], value, atol=2e-4, rtol=1e-3)
    base = [name for name in one if "lora_" not in name and "heads." not in name]
    assert base
    assert all(torch.equal(one[name], two["lora"][name]) for name in base)
    moved = [name for name in one if "lora_B" in name and one[name].any()]
    assert {name.split(".")[0] for name in moved} == {"student", "fake_score"}


def test_two_processes_with_a_pool_of_heads_equal_one(two: dict[str, Weights]):
    """The same heads are drawn and refreshed in both, though a process may meet no item of a head's level."""
    one = alone("pool")
    for name, value in one.items():
        torch.testing.assert_close(two["pool"][name], value, atol=2e-4, rtol=1e-3)


def test_a_process_that_saw_only_its_own_half_would_be_noticed():
    """The tolerance above is far below the change that half a batch makes."""
    whole, other = alone("copies"), alone("copies", items=8)
    apart = max((whole[name] - other[name]).abs().max().item() for name in whole)
    assert apart > 2e-2
