"""The example of examples/document_feedback_tiny.sh: its texts are what they should be, and it runs from end to end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from momus.documents.child import read
from momus.documents.drafts import read_given
from momus.documents.feedback import checked, words_to_see
from momus.documents.giving import by_person
from momus.documents.limits import Limits
from momus.documents.rubrics import read_rubric
from momus.documents.structure import structure

EXAMPLES = Path(__file__).parents[2] / "examples"
REPORTS = sorted((EXAMPLES / "reports").iterdir())


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("notes", ["teacher.txt", "other.txt"])
def test_every_note_is_of_the_rubric_and_quotes_its_report(folder, notes):
    form, file = read_rubric("pupil"), folder / "report.md"
    document = structure(read(file, Limits()), file.name, "0")
    entries, _ = read_given(folder / notes, document, form, document.language)
    sections, struck = checked(entries, form, document, document.language)
    assert not struck and all(section.points for section in sections)
    found = by_person(folder / notes, "Ms Kim", document, form, document.language)
    assert found.state == "draft" and found.title == document.title
    if notes == "teacher.txt":
        assert words_to_see(found, form) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_reports_to_models(tmp_path):
    for folder in (REPORTS[0], REPORTS[1], REPORTS[3]):  # in two languages; the script copies all where there are none
        shutil.copytree(folder, tmp_path / "out" / "class" / folder.name)
    script = [str(EXAMPLES / "document_feedback_tiny.sh"), str(tmp_path / "out")]
    momus = Path(sys.executable).with_name("momus")
    environment = {**os.environ, "MOMUS": str(momus), "PYTHON": sys.executable}
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 demonstrations, 3 rankings, 6 reviews from 6 pieces of feedback" in done.stderr
    for step in ("sft", "reward"):
        assert (tmp_path / "out" / step / "model" / "model.safetensors").is_file()
    released = [file.name for file in (tmp_path / "out" / "class").rglob("*.feedback.md")]
    assert released == ["report.md.Ms-Kim.feedback.md"] * 3
