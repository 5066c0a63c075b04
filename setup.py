"""setup.cfg describes the package; this adds that a wheel built in a git checkout holds only files that git tracks."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def tracked_files() -> set[Path] | None:
    """Files that git tracks here, or None outside a checkout, such as in an unpacked source distribution."""
    if not (ROOT / '.git').exists():
        return None
    git = ['git', '-C', str(ROOT), 'ls-files', '-z']
    try:
        names = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print(f'warning: all files are packed, since git does not say which it tracks: {error}')
        return None
    return {ROOT / name for name in names.split('\0') if name}


class BuildTracked(build_py):
    """Leave out files that git does not track, such as somebody's own configs."""

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        tracked = tracked_files()
        files = super().find_data_files(package, src_dir)
        # .mim holds links: what they lead to is tracked.
        return files if tracked is None else [name for name in files if Path(name).resolve() in tracked]

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        tracked = tracked_files()
        modules = super().find_package_modules(package, package_dir)
        return modules if tracked is None else [entry for entry in modules if Path(entry[2]).resolve() in tracked]


setup(cmdclass=dict(build_py=BuildTracked))
