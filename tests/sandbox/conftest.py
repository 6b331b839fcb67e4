import pytest

from momus.sandbox import NoCageError, require_cage


@pytest.fixture(scope="session")
def cage():
    """The cage; the tests that need it are skipped where there is none. One that does not hold is not skipped."""
    from momus.sandbox.bubblewrap import why_no_cage
    from momus.sandbox.run import run_unchecked

    if reason := why_no_cage():
        pytest.skip(reason)
    try:
        run_unchecked("")
    except NoCageError as error:
        pytest.skip(str(error))
    require_cage()
