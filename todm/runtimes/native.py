"""Where the libraries lie that hold todm's own operator, which the user builds (``make native``).

A bundle says that it needs one and never holds one: nothing is executed that came with a bundle.
"""

from pathlib import Path

from todm.core.errors import ArtifactError, MissingBuildError
from todm.core.target import Form
from todm.runtimes.bundle import Bundle
from todm.runtimes.tools import tool_dir

FOLDER_VARIABLE = "TODM_NATIVE"
"""The folder of the libraries, where it is not the user's cache."""
SCAN_OP = "todm.SsmScan"
STOCK = frozenset({"sherpa", "sherpa_node", "ort_web"})
"""Runtimes that load no library of operators, by the names that users type."""
LIBRARIES: dict[Form, str] = {
    "onnx": "libtodm_onnxruntime.so",
    "executorch": "libtodm_executorch.so",
}


def native_folder() -> Path:
    """Return the folder that libraries are built into and loaded from."""
    return tool_dir(FOLDER_VARIABLE, "native")


def native_library(form: Form) -> Path:
    """Return the library of todm's operator for a runtime.

    Raises:
        MissingBuildError: it was not built.
    """
    path = native_folder() / LIBRARIES[form]
    if not path.is_file():
        raise MissingBuildError(
            f"{path}: todm's operator is not built for this runtime; say make native, or set "
            f"{FOLDER_VARIABLE} to the folder of its libraries"
        )
    return path


def custom_ops(bundle: Bundle, form: Form) -> tuple[str, ...]:
    """Return the operators beyond the standard that a bundle's graphs hold."""
    forms = bundle.artifact.body.get("forms")
    told = forms.get(form) if isinstance(forms, dict) else None
    named = told.get("custom_ops") if isinstance(told, dict) else None
    return tuple(map(str, named)) if isinstance(named, list) else ()


def needs_library(bundle: Bundle, form: Form) -> bool:
    """Tell whether a bundle's graphs hold todm's operator."""
    return SCAN_OP in custom_ops(bundle, form)


def library_of(bundle: Bundle, form: Form) -> Path | None:
    """Return the library that a bundle needs, if it needs one.

    Raises:
        MissingBuildError: it was not built.
    """
    return native_library(form) if needs_library(bundle, form) else None


def require_stock(bundle: Bundle, form: Form, runtime: str) -> None:
    """Do nothing for a bundle of stock operators.

    Raises:
        ArtifactError: it needs a library, which the runtime cannot load.
    """
    if needs_library(bundle, form):
        raise ArtifactError(
            f"{bundle.artifact.path}: holds the operator {SCAN_OP}, for which {runtime} loads no "
            "library; export it with the scan form folded"
        )
