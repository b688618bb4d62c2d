"""What a figure depends on besides the code: the machine, its disk, and every version involved.

Linux only, as the rest of the benchmark is: it reads /proc and /sys.
"""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from options import REPOSITORY

CORES = 2


def pin_to(cores: int) -> None:
    """Keeps this process, and all it starts from now on, on the same few cores.

    Sluice's own process takes every core it sees; on a larger machine it would otherwise have more of
    them than the libraries, which are told how many threads to use.
    """
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:cores])


def describe(data_dir: Path, disk: str | None, versions: list[str]) -> str:
    """A Markdown list for the head of a results section."""
    today = datetime.datetime.now(datetime.UTC).date()
    cores_used, cores = len(os.sched_getaffinity(0)), os.cpu_count()
    return "\n".join(
        [
            f"- date: {today}",
            f"- machine: {cpu_model()}, {cores_used} of {cores} cores used, {memory_gib():.1f} GiB memory",
            f"- disk: {disk or detect_disk(data_dir)}",
            f"- kernel: {platform.system()} {platform.release()}",
            f"- versions: {', '.join(versions)}",
        ]
    )


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def detect_disk(folder: Path) -> str:
    """The kind of disk under `folder`, as well as the kernel knows it."""
    device = folder.stat().st_dev
    node = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    disk = node.parent if (node / "partition").exists() else node
    rotational = disk / "queue/rotational"
    if not rotational.exists():
        return "unknown (not a block device of its own)"
    return f"{disk_kind(disk.name, rotational.read_text().strip() == '1')} ({disk.name})"


def disk_kind(name: str, is_rotational: bool) -> str:
    # A virtual disk's rotational flag says nothing about what the host keeps it on.
    if name.startswith(("vd", "xvd")):
        return "virtual disk"
    if name.startswith("nvme"):
        return "NVMe SSD"
    return "hard disk" if is_rotational else "SSD"


def package_versions(*packages: str) -> list[str]:
    return [f"{package} {metadata.version(package)}" for package in packages]


def sluice_version(binary: Path) -> str:
    """What the binary says of itself, its profile, when it was built, and the commit in the tree beside it."""
    said = output(binary, "--version") or "sluice"
    built = datetime.datetime.fromtimestamp(binary.stat().st_mtime, datetime.UTC)
    profile = binary.resolve().parent.name
    return f"{said} (profile {profile}, commit {commit()}, built {built:%Y-%m-%d %H:%M} UTC)"


def commit() -> str:
    git = ("git", "-C", REPOSITORY)
    head = output(*git, "rev-parse", "--verify", "--short", "HEAD")
    if not head:
        return "unknown"
    # The results file is left out: writing one section must not make the next one look uncommitted.
    changed = output(*git, "status", "--porcelain", "--", ".", ":!bench/RESULTS.md")
    return f"{head} with changes" if changed else head


def output(*command: str | Path) -> str:
    """What a command prints, or nothing if it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
