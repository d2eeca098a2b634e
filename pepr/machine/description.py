"""What this machine is and what runs on it: hardware, package versions, git revision."""

from __future__ import annotations

import functools
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from pepr.errors import InputError
from pepr.machine import cores, gpu
from pepr.machine.process import text_of

NAMED = ("pepr", "torch", "timm", "codecarbon")
PACKAGES = (*NAMED, "numpy", "scikit-learn", "pandas", "medmnist", "papermill")


RAPL = Path("/sys/class/powercap/intel-rapl/subsystem")
CPUINFO = Path("/proc/cpuinfo")
DEVICE_TREE = Path("/proc/device-tree/model")
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x41", "0xd8e"): "Neoverse-N3",
    ("0xc0", "0xac3"): "Ampere-1",
}
"""Names of ARM processors on servers and small boards by implementer and part, as `lscpu` gives them."""
IDENTITY = (
    *("cpu family", "model", "stepping"),
    *("CPU implementer", "CPU part", "CPU variant", "CPU revision"),
    *("revision", "CPU Family", "CPU Revision", "isa", "mvendorid", "marchid"),
)
"""What Linux tells of a processor besides its name: on x86, on ARM, and on POWER, LoongArch and RISC-V."""
NAMES = ("model name", "Model Name", "cpu", "uarch")
"""And its name, on those but ARM."""
X86_LEVELS = {
    "AVX512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma"),
    "AVX2": ("avx2", "fma"),
}
"""What a processor must have for torch's kernels of an instruction set, the best first."""
INSTRUCTION_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "DNNL_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""What keeps the libraries below torch and NumPy to other instructions, or another precision, than they would
take: `ATEN_CPU_CAPABILITY` is torch's own, and none of theirs."""
METAL = "Apple GPU (Metal)"
"""What torch calls `mps`; which one it is, the processor's name says."""
AUTO = "auto"
DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


def cpu_model() -> str:
    """The processor's name, as the operating system tells it: in Linux's table, which has none for ARM, by
    the device tree or implementer and part; on macOS by `sysctl`; on Windows by its environment."""
    if CPUINFO.exists():
        facts = _cpuinfo()
        part = (facts.get("CPU implementer", ""), facts.get("CPU part", ""))
        told = next((facts[name] for name in NAMES if facts.get(name)), None)
        named = told or ARM_PARTS.get(part) or text_of(DEVICE_TREE).rstrip("\0")
        return " ".join((named or facts.get("Hardware") or platform.machine()).split())
    if sys.platform == "darwin" and (named := ask_sysctl("machdep.cpu.brand_string")):
        return named
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine()


def cpu_identity() -> str:
    """What tells apart processors that are sold, or rented out, under one name: family, model and stepping,
    implementer and part, or the model of a Mac; of each kind where a machine has large and small cores; empty
    where the system tells none."""
    if CPUINFO.exists():
        kinds = [
            " ".join(f"{name.split()[-1]} {facts[name]}" for name in IDENTITY if name in facts)
            for facts in _processors()
        ]
        return " + ".join(filter(None, dict.fromkeys(kinds)))
    return ask_sysctl("hw.model") if sys.platform == "darwin" else ""


def instruction_set() -> str:
    """The instruction set that computes here, which decides the last digits of a result and, after some
    epochs, more: `AVX512`, `AVX2`, `DEFAULT` of torch's own kernels, which `$ATEN_CPU_CAPABILITY` may ask
    for, and what the environment asks of the libraries below, such as `ONEDNN_MAX_CPU_ISA=AVX2`."""
    asked = [f"{name}={os.environ[name]}" for name in INSTRUCTION_VARIABLES if os.environ.get(name)]
    return ", ".join([_kernels(), *asked])


def _kernels() -> str:
    """The instruction set of torch's own kernels; it takes `$ATEN_CPU_CAPABILITY` in small letters only."""
    asked = os.environ.get("ATEN_CPU_CAPABILITY", "")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        has_sve = "sve" in _cpuinfo().get("Features", "").split()
        return "SVE" if has_sve and asked != "default" else platform.machine()
    has = set(_cpuinfo().get("flags", "").split())
    found = [level for level, needed in X86_LEVELS.items() if has.issuperset(needed)] + ["DEFAULT"]
    return next((level for level in found if level.lower() == asked), found[0])


def sockets() -> int:
    """Processors of this machine that the system can tell apart: one in a virtual machine, where sockets are
    what somebody configured, and one where nothing is told."""
    if "hypervisor" in _cpuinfo().get("flags", "").split():
        return 1
    return len(set(re.findall(r"^physical id\s*:\s*(\d+)", text_of(CPUINFO), re.M))) or 1


def _cpuinfo() -> dict[str, str]:
    """What Linux tells of the first processor; nothing elsewhere."""
    parts = _processors()
    return next((facts for facts in parts if "processor" in facts), next(iter(parts), {}))


def _processors() -> list[dict[str, str]]:
    """What Linux tells, part by part: of each processor, and of all of them."""
    lines = (part.splitlines() for part in text_of(CPUINFO).split("\n\n"))
    pairs = ([line.partition(":") for line in part if ":" in line] for part in lines)
    return [{name.strip(): value.strip() for name, _, value in part} for part in pairs]


@functools.cache
def ask_sysctl(name: str) -> str:
    """What macOS answers to a name such as `machdep.cpu.family`; empty where there is no answer."""
    return _answer("sysctl", "-n", name)


def _answer(*command: str, cwd: Path | None = None) -> str:
    """What a program prints; nothing where it fails, or is not there."""
    try:
        asked = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result; those absent are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def software() -> str:
    """One line for the results table."""
    found = versions()
    parts = [f"{package} {found[package]}" for package in NAMED if package in found]
    return "; ".join([f"python {platform.python_version()}", *parts])


def hardware(device: str = "cpu") -> str:
    """One line for the results table: results are ranked only within one value of it.

    It tells apart what computes or draws power differently: processors of one name by family, model and
    stepping, their number, the instruction set in use, power caps. The memory is that of the modules, so that
    what a kernel keeps for itself makes no other machine.
    """
    caps = cpu_power_caps_w()
    cpu = ", ".join(filter(None, [cpu_identity(), instruction_set(), caps and f"cap {sum(caps):.0f} W"]))
    count = f"{sockets()} x " if sockets() > 1 else ""
    line = f"{count}{cpu_model()} ({cpu}); {cores.words()}; {_memory_gib()} GiB"
    if device == "mps":
        return f"{METAL}; {line}"
    if not device.startswith("cuda"):
        return line
    used = gpu.current(device)
    return f"{used.name}; {line}" + ("" if used.limit_w is None else f"; GPU cap {used.limit_w:.0f} W")


def _memory_gib() -> int:
    """Memory of this machine in GiB, up to the next size that modules make: a part of a system's memory,
    about a thirtieth, is not told."""
    gib = psutil.virtual_memory().total / 2**30
    step = 2 ** max(math.floor(math.log2(max(gib, 1))) - 3, 0)
    return math.ceil(gib / step) * step


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """NVIDIA GPUs that this process may use, found without torch; empty where there are none."""
    return tuple(one.name for one in gpu.visible())


def cpu_counters() -> list[Path]:
    """The files of the processor's energy counters (RAPL); none in most virtual machines."""
    return sorted(RAPL.glob("*:*/energy_uj")) if RAPL.exists() else []


def readable_cpu_counters() -> list[Path]:
    """Those energy counters that this user may read."""
    return [path for path in cpu_counters() if os.access(path, os.R_OK)]


def cpu_power_caps_w() -> list[float]:
    """The power in watts that each processor keeps to in the long run (RAPL); none where it is not told."""
    return [limits[0] for limits in _cpu_limits_w()]


def cpu_power_limits_w() -> list[float]:
    """The most in watts that each processor may draw, also for moments (RAPL); none where it is not told."""
    return [max(limits) for limits in _cpu_limits_w()]


def _cpu_limits_w() -> list[list[float]]:
    """Limits in watts of each processor, that of the longest time first."""
    packages = [path for path in sorted(RAPL.glob("intel-rapl:*")) if path.name.count(":") == 1]
    named = [path for path in packages if text_of(path / "name").startswith("package")]
    texts = [[text_of(limit) for limit in sorted(path.glob("constraint_*_power_limit_uw"))] for path in named]
    found = [[int(text) / 1e6 for text in limits if text.strip().isdecimal()] for limits in texts]
    return [limits for limits in found if limits]


def default_device() -> str:
    """`cuda` where there is an NVIDIA GPU that torch can use, else `cpu`; `$PEPR_DEVICE` overrides. An Apple
    GPU is taken where it is named: its energy cannot be measured. Raises InputError for a name that is no
    device."""
    told = os.environ.get("PEPR_DEVICE", AUTO)
    if told not in ("", AUTO):
        return _named(told)
    return "cuda" if gpu_names() and not why_torch_has_no_gpu() else "cpu"


def study_device() -> str:
    """`default_device`, for a study: each of its runs sees one GPU alone, and calls it `cuda`.

    Raises InputError for a GPU by its number, such as `cuda:1`, too.
    """
    device = default_device()
    _, numbered, number = device.partition(":")
    if not numbered:
        return device
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    chosen = visible[int(number)] if int(number) < len(visible) else number
    raise InputError(
        f"PEPR_DEVICE={device}: each run of a study sees one GPU alone, which it calls cuda; to choose it: "
        f"CUDA_VISIBLE_DEVICES={chosen} PEPR_DEVICE=cuda"
    )


def chosen_device(asked: str | None = None) -> str:
    """The device that `asked` means, as torch names it: `auto` and None are `default_device`.

    Raises InputError, saying what to do, for a name that is no device and for one that cannot be used here.
    """
    device = default_device() if asked in (None, "", AUTO) else _named(asked)
    reason = None
    if device.startswith("cuda"):
        gpu.current(device)
        reason = why_torch_has_no_gpu()
    elif device == "mps":
        reason = why_torch_has_no_mps()
    if reason:
        raise InputError(
            f"device {device}: torch cannot use it ({reason}); install the build of torch that belongs to "
            "this machine, see https://pytorch.org/get-started, or take the processor: cpu"
        )
    return device


def _named(device: str) -> str:
    if not DEVICE.fullmatch(device):
        raise InputError(f"device {device!r}: expected {AUTO}, cpu, cuda, cuda:1 or mps")
    return device


@functools.cache
def why_torch_has_no_gpu() -> str | None:
    """Why torch cannot use the GPUs that the driver shows, in its own words; None where it can.

    Another process is asked, which takes seconds: what this one imports stays without torch.
    """
    return _ask_torch(
        "'built without CUDA' if not torch.version.cuda else "
        "'' if torch.cuda.is_available() else torch.cuda.init()"
    )


@functools.cache
def why_torch_has_no_mps() -> str | None:
    """The same of Apple's GPU."""
    return _ask_torch(
        "'built without Metal' if not torch.backends.mps.is_built() else "
        "'' if torch.backends.mps.is_available() else 'no Apple GPU here'"
    )


def _ask_torch(question: str) -> str | None:
    ask = f"import torch; print({question})"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip() or None
    return (done.stderr.strip().splitlines() or ["it does not start"])[-1]


@functools.cache
def git_revision() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this package runs from and whether it had uncommitted changes;
    (None, None) outside a checkout."""
    module = Path(__file__).resolve()
    git = functools.partial(_answer, "git", cwd=module.parent)
    revision = git("ls-files", "--error-unmatch", module.name) and git("rev-parse", "HEAD")
    if not revision:
        return None, None
    return revision, bool(git("status", "--porcelain", "--untracked-files=no"))


def environment(device: str = "cpu", threads: int | None = None) -> dict[str, object]:
    """Everything about machine and software that a record keeps; `threads` are those of the training."""
    revision, dirty = git_revision()
    return {
        "packages": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_model": cpu_model(),
        "cpu_identity": cpu_identity(),
        "instruction_set": instruction_set(),
        "sockets": sockets(),
        "cores": cores.usable(),
        "threads": threads,
        "memory_bytes": psutil.virtual_memory().total,
        **_gpu_facts(device),
        "git_revision": revision,
        "git_dirty": dirty,
        "command": os.environ.get("PEPR_COMMAND") or shlex.join(sys.argv),
    }


def recorded(device: str = "cpu", threads: int | None = None, **known: Any) -> dict[str, object]:
    """What the record of a run says about this machine: software, hardware, environment, with what else is
    `known` of that."""
    return {
        "software": software(),
        "hardware": hardware(device),
        "environment": environment(device, threads) | known,
    }


def _gpu_facts(device: str) -> dict[str, str | None]:
    if not device.startswith("cuda"):
        return {"gpu": METAL if device == "mps" else None}
    used = gpu.current(device)
    return {"gpu": used.name, "gpu_uuid": used.uuid, "driver": gpu.driver_version()}
