"""A machine's name tells apart what computes differently, and joins what does not."""

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from pepr.machine import description

X86 = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: {model}
model name	: {name}
stepping	: {stepping}
physical id	: {socket}
flags		: fpu sse2 {flags}

"""
ARM = """processor	: 0
Features	: fp asimd {features}
CPU implementer	: 0x41
CPU variant	: 0x3
CPU part	: {part}
CPU revision	: 1

"""
AVX512 = "fma avx2 avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Sets what Linux tells of the processor."""

    def tell(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(description, "CPUINFO", path)
        monkeypatch.setattr(description, "RAPL", tmp_path / "no-rapl")
        monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
        return description.hardware()

    return tell


def x86(name="Common KVM processor", model=61, stepping=2, flags=AVX512, sockets=1):
    parts = {"name": name, "model": model, "stepping": stepping, "flags": flags}
    return "".join(X86.format(**parts, socket=socket) for socket in range(sockets))


def test_guests_of_one_marketing_name_are_told_apart_by_what_they_are(told, monkeypatch):
    monkeypatch.setattr(description.platform, "machine", lambda: "x86_64")
    names = [
        told(x86()),
        told(x86(model=85)),
        told(x86(stepping=7)),
        told(x86(flags="fma avx2")),
        told(x86(flags="")),
        told(x86(sockets=2)),
    ]
    assert len(set(names)) == len(names)
    assert "family 6 model 61 stepping 2, AVX512" in names[0] and ", DEFAULT)" in names[4]
    assert names[5].startswith("2 x ")
    assert told(x86(name="Common  KVM processor ")) == names[0]


def test_sockets_of_a_virtual_machine_are_what_somebody_configured(told, monkeypatch):
    told(x86(sockets=8, flags=f"hypervisor {AVX512}"))
    assert description.sockets() == 1


def test_arm_processors_are_named_by_implementer_and_part(told, monkeypatch):
    monkeypatch.setattr(description.platform, "machine", lambda: "aarch64")
    graviton2, graviton4 = (
        told(ARM.format(part="0xd0c", features="")),
        told(ARM.format(part="0xd4f", features="sve")),
    )
    assert graviton2.startswith("Neoverse-N1 (implementer 0x41 part 0xd0c")
    assert graviton4.startswith("Neoverse-V2 (") and ", SVE)" in graviton4
    assert told(ARM.format(part="0xfff", features="")) != told(ARM.format(part="0xffe", features=""))


def test_two_macs_have_two_names(monkeypatch, tmp_path):
    monkeypatch.setattr(description, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(description.sys, "platform", "darwin")
    names = set()
    for facts in (
        {"machdep.cpu.brand_string": "Apple M2", "hw.model": "Mac14,3"},
        {"machdep.cpu.brand_string": "Apple M2", "hw.model": "Mac14,15"},
        {"machdep.cpu.brand_string": "Apple M4", "hw.model": "Mac16,1"},
    ):
        monkeypatch.setattr(description, "ask_sysctl", facts.__getitem__)
        names.add(description.hardware())
    assert len(names) == 3 and all(name.startswith("Apple M") for name in names)


def test_what_a_kernel_keeps_of_the_memory_makes_no_other_machine(told, monkeypatch):
    def hardware(gib):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=int(gib * 2**30)))
        return told(x86())

    assert hardware(15.4) == hardware(15.7) and "16 GiB" in hardware(15.4)
    assert "64 GiB" in hardware(62.6) and "128 GiB" in hardware(125.7) and "2 GiB" in hardware(1.9)
    assert hardware(31.2) != hardware(15.6)


POWER = "processor\t: 0\ncpu\t\t: {name} (architected), altivec supported\nrevision\t: {revision}\n\n"
RISCV = "processor\t: 0\nisa\t\t: {isa}\nuarch\t\t: {name}\nmvendorid\t: {vendor}\n\n"
LOONGARCH = "system type\t: generic\n\nprocessor\t: 0\nModel Name\t: {name}\nCPU Revision\t: 0x11\n\n"


@pytest.mark.parametrize(
    ("machine", "one", "other"),
    [
        (
            "ppc64le",
            POWER.format(name="POWER9", revision="2.2 (pvr 004e 1202)"),
            POWER.format(name="POWER10", revision="2.0 (pvr 0080 0200)"),
        ),
        (
            "ppc64le",
            POWER.format(name="POWER9", revision="2.2 (pvr 004e 1202)"),
            POWER.format(name="POWER9", revision="2.3 (pvr 004e 1203)"),
        ),
        (
            "riscv64",
            RISCV.format(name="thead,c920", isa="rv64imafdcv", vendor="0x5b7"),
            RISCV.format(name="sifive,u74-mc", isa="rv64imafdc", vendor="0x489"),
        ),
        ("loongarch64", LOONGARCH.format(name="3A5000"), LOONGARCH.format(name="3A6000")),
        (
            "aarch64",
            ARM.format(part="0xd03", features="") + ARM.format(part="0xd08", features=""),
            2 * ARM.format(part="0xd03", features=""),
        ),
    ],
)
def test_processors_of_other_makers_and_of_large_and_small_cores_are_told_apart(
    told, monkeypatch, machine, one, other
):
    monkeypatch.setattr(description.platform, "machine", lambda: machine)
    assert told(one) != told(other) and told(one) == told(one)


@pytest.mark.parametrize("asked", [None, "default", "avx2", "AVX2", "Default", "avx"])
def test_the_instruction_set_is_the_one_that_torch_takes(asked, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    if asked:
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", asked)
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    taken = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    names = {"NO AVX": "DEFAULT"}  # as torch before 2.5 called it
    assert description.instruction_set() == names.get(taken.stdout.strip(), taken.stdout.strip())
    assert description.environment()["instruction_set"] == description.instruction_set()


def test_vectors_that_are_turned_off_on_arm_are_no_vectors(told, monkeypatch):
    monkeypatch.setattr(description.platform, "machine", lambda: "aarch64")
    without = told(ARM.format(part="0xd4f", features=""))
    assert told(ARM.format(part="0xd4f", features="sve")) != without
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert description.hardware() == without


@pytest.mark.parametrize(
    "name",
    [
        "ONEDNN_MAX_CPU_ISA",
        "DNNL_DEFAULT_FPMATH_MODE",
        "ONEDNN_CPU_ISA_HINTS",
        "MKL_ENABLE_INSTRUCTIONS",
        "OPENBLAS_CORETYPE",
        "NPY_DISABLE_CPU_FEATURES",
    ],
)
def test_a_library_that_is_kept_to_other_instructions_is_other_hardware(name, monkeypatch):
    for one in description.INSTRUCTION_VARIABLES:
        monkeypatch.delenv(one, raising=False)
    before = description.hardware()
    monkeypatch.setenv(name, "AVX2")
    assert description.instruction_set().endswith(f", {name}=AVX2") and description.hardware() != before
    assert description.environment()["instruction_set"] == description.instruction_set()


def test_a_run_says_which_instruction_set_it_had():
    assert torch.backends.cpu.get_cpu_capability() in description.hardware()
