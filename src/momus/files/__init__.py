"""Files: strangers' JSON in, and the only way to write: atomic files and directories, locks, run directories, ledgers.

No other module opens a file to write it, so that a command killed at any instant leaves what was there before or what
was to be there, and two commands never write in one place.
"""

from momus.files.ledger import Ledger, digest
from momus.files.locks import DirectoryLock
from momus.files.log import Log
from momus.files.model_folder import check_model_folder, count_weights
from momus.files.reading import (
    LONGEST,
    JsonDecoder,
    JsonError,
    json_lines,
    open_bytes,
    parse_json,
    read_json,
    stamps,
    surrogate_in,
)
from momus.files.run_directory import CONFIG, changed, open_run_directory, plain
from momus.files.writing import (
    atomic_directory,
    atomic_file,
    copy_directory,
    fill_json,
    restore_directory,
    scratch_directory,
    write_bytes,
    write_json,
    write_lines,
    write_text,
)

__all__ = [
    "CONFIG",
    "LONGEST",
    "DirectoryLock",
    "JsonDecoder",
    "JsonError",
    "Ledger",
    "Log",
    "atomic_directory",
    "atomic_file",
    "changed",
    "check_model_folder",
    "copy_directory",
    "count_weights",
    "digest",
    "fill_json",
    "json_lines",
    "open_bytes",
    "open_run_directory",
    "parse_json",
    "plain",
    "read_json",
    "restore_directory",
    "scratch_directory",
    "stamps",
    "surrogate_in",
    "write_bytes",
    "write_json",
    "write_lines",
    "write_text",
]
