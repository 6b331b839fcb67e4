"""Files packed in a ZIP (DOCX, HWPX): unpacked within limits, their XML parsed with entities refused."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from momus.documents.limits import MB, Limits
from momus.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Archive:
    """The files packed in a ZIP, read one by one within limits.

    Raises:
        UserError: It is broken, encrypted, or packs too much.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._left = path, limits.unpacked_bytes
        self._most = limits.unpacked_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: a broken file: it cannot be unpacked") from error
        infos = self._zip.infolist()
        if len(infos) > limits.members:
            raise UserError(f"{path}: {len(infos):,} files packed in it: the limit is {limits.members:,}")
        if sum(info.file_size for info in infos) > self._most:
            raise self._too_much()
        if any(info.flag_bits & 1 for info in infos):
            raise UserError(f"{path}: needs a password: save a copy without one")
        self.names = {info.filename for info in infos}

    def xml(self, name: str) -> Element | None:
        """Return a packed XML file's root, or None where there is none of that name."""
        if name not in self.names:
            return None
        try:
            with self._zip.open(name) as file:
                data = file.read(self._left + 1)  # what comes out may be more than what the file declares
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise UserError(f"{self._path}: a broken file: {name} in it cannot be unpacked") from error
        self._left -= len(data)
        if self._left < 0:
            raise self._too_much()
        try:
            root: Element = fromstring(data, forbid_dtd=True)
        except DefusedXmlException as error:
            raise UserError(
                f"{self._path}: {name} in it defines entities, as no real document does: refused"
            ) from error
        except (ParseError, ValueError, LookupError) as error:
            raise UserError(f"{self._path}: a broken file: {name} in it is not XML") from error
        return root

    def _too_much(self) -> UserError:
        return UserError(f"{self._path}: unpacks to more than {self._most // MB} MB: refused")


def local_name(element: Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]
