"""Build the C extension ptagrpo._core. Everything declarative is in pyproject.toml.

Environment variables of the build:
    PTAGRPO_BLAS=system                link a system OpenBLAS found by pkg-config (openblas) instead of
                                       copying the one of scipy-openblas32 into the package
    PTAGRPO_SANITIZE=address,undefined a build for debugging with these sanitizers
    CC, CFLAGS                         as everywhere
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

ROOT = Path(__file__).resolve().parent
# The name of our private copy of OpenBLAS. It is exactly as long as the original, so that the library's own
# name (DT_SONAME, LC_ID_DYLIB) can be changed in place: two packages that bring different builds then never share one.
SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
ORIGINAL_BLAS = "libscipy_openblas" + SUFFIX
PRIVATE_BLAS = "libptagr_openblas" + SUFFIX
BLAS_LICENSE = "libptagr_openblas.LICENSE.txt"
assert len(ORIGINAL_BLAS) == len(PRIVATE_BLAS)

COMPILER_HELP = """
ptagrpo needs a C compiler (GCC 9 or newer, or clang); this one does not work: {compiler}
    {error}
    Debian, Ubuntu: apt-get install gcc     Fedora: dnf install gcc     conda: conda install gcc_linux-64
    macOS: xcode-select --install
or name another one by CC=....
"""
CLONES_PROBE = """
__attribute__((target_clones("default", "arch=haswell"))) int twice(int x) { return 2 * x; }
int main(int argc, char **argv) { (void)argv; return twice(argc) > 0 ? 0 : 1; }
"""


def fail(message: str) -> None:
    """Stop the build with a message that a person can act upon."""
    raise SystemExit("\n" + message.strip() + "\n")


def pkg_config(*arguments: str) -> list[str]:
    """Flags of the system's OpenBLAS."""
    for package in ("openblas", "cblas-openblas"):
        try:
            answer = subprocess.run(["pkg-config", *arguments, package], capture_output=True, text=True)
        except FileNotFoundError:
            fail(
                "PTAGRPO_BLAS=system needs the program pkg-config, which was not found. Install it, or unset "
                "PTAGRPO_BLAS to use the OpenBLAS of the package scipy-openblas32."
            )
        if answer.returncode == 0:
            return shlex.split(answer.stdout)
    fail(
        "PTAGRPO_BLAS=system: pkg-config knows no package 'openblas' (Debian, Ubuntu: libopenblas-dev). "
        "Unset PTAGRPO_BLAS to use the OpenBLAS of the package scipy-openblas32."
    )
    raise AssertionError


class BuildCore(build_ext):
    """build_ext that probes the compiler, compiles in parallel, and brings OpenBLAS along."""

    def build_extension(self, ext: Extension) -> None:
        import numpy

        compiler = " ".join(self.compiler.compiler_so)
        self.sanitize = os.environ.get("PTAGRPO_SANITIZE", "").strip()
        if not self.probe("int main(void) { return 0; }", ["-fopenmp-simd"]):
            fail(COMPILER_HELP.format(compiler=compiler, error=self.probe_error))
        ext.include_dirs = [numpy.get_include()]
        ext.define_macros = [("PTA_VERSION", f'"{self.distribution.get_version()}"')]
        # No -ffast-math: NaN and infinity mean something here. No -march: kernels choose at run time. OpenMP only
        # as hints to vectorise (-fopenmp-simd): threads are our own, and no runtime library of OpenMP is needed.
        ext.extra_compile_args = [
            "-std=gnu11",
            "-O3",
            "-fopenmp-simd",
            "-pthread",
            "-fno-math-errno",
            "-fno-trapping-math",
            "-ffp-contract=fast",
            "-fvisibility=hidden",
            "-Wall",
            "-Wextra",
            "-Wno-missing-field-initializers",
            "-Wno-cast-function-type",
        ]
        ext.extra_link_args = ["-lm"] if sys.platform == "darwin" else ["-pthread", "-lm"]
        if self.sanitize:
            flags = [f"-fsanitize={self.sanitize}", "-fno-omit-frame-pointer", "-g"]
            ext.extra_compile_args += ["-O1", *flags, "-fno-sanitize-recover=undefined", "-UNDEBUG"]
            ext.extra_link_args += flags
            ext.define_macros += [("PTA_SANITIZE", f'"{self.sanitize}"'), ("PTA_NO_CLONES", None)]
        elif not self.probe(CLONES_PROBE, []):
            ext.define_macros.append(("PTA_NO_CLONES", None))
        self.add_blas(ext)
        self.compile_and_link(ext)

    def probe(self, source: str, flags: list[str]) -> bool:
        """Whether a small program compiles and links."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "probe.c")
            file.write_text(source)
            command = [*self.compiler.compiler_so, *flags, str(file), "-o", str(Path(folder, "probe"))]
            try:
                answer = subprocess.run(command, capture_output=True, text=True)
            except OSError as error:
                self.probe_error = str(error)
                return False
            self.probe_error = answer.stderr.strip()
            return answer.returncode == 0

    def add_blas(self, ext: Extension) -> None:
        """Set the flags for OpenBLAS and put our copy, its licence and what it needs beside the extension."""
        self.beside: list[Path] = []
        if os.environ.get("PTAGRPO_BLAS", "") == "system":
            ext.extra_compile_args += pkg_config("--cflags")
            ext.extra_link_args += pkg_config("--libs")
            return
        if not sys.platform.startswith(("linux", "darwin")):
            fail(
                f"On {sys.platform} build with PTAGRPO_BLAS=system (an OpenBLAS that pkg-config finds): "
                "copying the library of scipy-openblas32 into the package is written for Linux and macOS."
            )
        try:
            import scipy_openblas32
        except ImportError:
            fail(
                "The build requirement scipy-openblas32 is missing (pip install scipy-openblas32), as is "
                "usual with --no-build-isolation. Or set PTAGRPO_BLAS=system to link the system's OpenBLAS."
            )
        source = Path(scipy_openblas32.get_lib_dir())
        folder = Path(self.get_ext_fullpath(ext.name)).parent
        folder.mkdir(parents=True, exist_ok=True)
        self.beside.append(folder / PRIVATE_BLAS)
        place(
            renamed((source / ORIGINAL_BLAS).read_bytes()),
            folder / PRIVATE_BLAS,
            sign=sys.platform == "darwin",
        )
        for library in sorted(source.glob(f"*{SUFFIX}*")):  # libgfortran on AArch64, under a name of its own
            if library.name != ORIGINAL_BLAS:
                self.beside.append(folder / library.name)
                place(library.read_bytes(), folder / library.name)
        # It is distributed with us, and so are its terms.
        for file in metadata.files("scipy-openblas32") or []:
            if file.name == "LICENSE.txt":
                self.beside.append(folder / BLAS_LICENSE)
                place(file.read_binary(), folder / BLAS_LICENSE, mode_of=ROOT / "setup.py")
        ext.include_dirs.append(scipy_openblas32.get_include_dir())
        ext.define_macros.append(("PTA_SCIPY_OPENBLAS", None))
        # Python's own link command may name folders of this machine (pyenv's does); a wheel must not carry them.
        self.compiler.linker_so = [f for f in self.compiler.linker_so if not f.startswith("-Wl,-rpath")]
        here = "@loader_path" if sys.platform == "darwin" else "$ORIGIN"
        name = PRIVATE_BLAS.removeprefix("lib").removesuffix(SUFFIX)
        ext.extra_link_args += [f"-L{folder}", f"-l{name}", f"-Wl,-rpath,{here}"]

    def compile_and_link(self, ext: Extension) -> None:
        """Compile what is older than its source, a header or the flags; then link."""
        temp = Path(self.build_temp, "sanitize" if self.sanitize else "plain")
        temp.mkdir(parents=True, exist_ok=True)
        stamp = temp / "flags.txt"
        flags = repr((self.compiler.compiler_so, ext.extra_compile_args, ext.define_macros, ext.include_dirs))
        if not stamp.exists() or stamp.read_text() != flags:
            stamp.write_text(flags)
        newest = max([stamp.stat().st_mtime, *(os.stat(header).st_mtime for header in ext.depends)])

        def compile_one(source: str) -> str:
            target = temp / Path(source).with_suffix(".o")
            if target.exists() and target.stat().st_mtime > max(newest, os.stat(source).st_mtime):
                return str(target)
            started = time.time()
            self.compiler.compile(
                [source],
                output_dir=str(temp),
                macros=ext.define_macros,
                include_dirs=ext.include_dirs + self.include_dirs,
                extra_postargs=ext.extra_compile_args,
            )
            os.utime(target, (started, started))  # a source that is edited meanwhile is newer than its object
            return str(target)

        try:
            with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
                objects = list(pool.map(compile_one, ext.sources))
            target = Path(self.get_ext_fullpath(ext.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # never overwrite a library that a running process has mapped
            self.compiler.link_shared_object(
                objects, str(target), extra_postargs=ext.extra_link_args, libraries=self.get_libraries(ext)
            )
        except (CompileError, LinkError) as error:
            raise SystemExit(
                f"\nThe C extension of ptagrpo could not be built ({error}); the compiler's own words "
                "stand above.\n"
            ) from error

    def copy_extensions_to_source(self) -> None:
        """For in-place and editable builds: the extension, and OpenBLAS beside it."""
        folder = Path(self.get_finalized_command("build_py").get_package_dir("ptagrpo"))
        built = [Path(self.build_lib, self.get_ext_filename(ext.name)) for ext in self.extensions]
        for file in [*built, *getattr(self, "beside", [])]:
            place(file.read_bytes(), folder / file.name, mode_of=file)

    def get_outputs(self) -> list[str]:
        return super().get_outputs() + [str(path) for path in getattr(self, "beside", [])]


def renamed(image: bytes) -> bytes:
    """OpenBLAS with the private name in the place of its own."""
    old, new = (name.encode() + b"\0" for name in (ORIGINAL_BLAS, PRIVATE_BLAS))
    before = b"@rpath/" if sys.platform == "darwin" else b"\0"
    if image.count(before + old) != 1:
        fail(
            f"{ORIGINAL_BLAS} of scipy-openblas32 does not carry its name once, as expected. "
            "Install another version of scipy-openblas32, or set PTAGRPO_BLAS=system."
        )
    return image.replace(before + old, before + new)


def place(content: bytes, path: Path, mode_of: str | Path = sys.executable, sign: bool = False) -> None:
    """Write a file under a new inode, so that a process that has it open keeps the old one.

    sign: for this machine alone, as macOS asks for after a change (`codesign`); wheels are signed so too.
    """
    if path.exists() and path.read_bytes() == content:
        return
    scratch = path.with_name(path.name + ".new")
    scratch.write_bytes(content)
    shutil.copymode(mode_of, scratch)
    if sign:
        subprocess.run(["codesign", "--force", "--sign", "-", str(scratch)], check=True)
    os.replace(scratch, path)


def relative(pattern: str) -> list[str]:
    return sorted(os.path.relpath(name, ROOT) for name in glob(str(ROOT / "csrc" / pattern), recursive=True))


setup(
    ext_modules=[Extension("ptagrpo._core", sources=relative("**/*.c"), depends=relative("**/*.h"))],
    cmdclass={"build_ext": BuildCore},
)
