"""Oracle tests need the official PyTorch code; without it they say how to get it."""

import pytest


@pytest.fixture(scope="session")
def official():
    """`convert.official`, ready to build models."""
    pytest.importorskip("torch", reason="torch is not installed: run `make oracle`")
    from convert import official

    try:
        official.require()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    return official
