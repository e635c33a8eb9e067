"""A request to stop reaches whoever looks, whenever it looks, and stays until it is taken back."""

from __future__ import annotations

import os

import pytest

from daskhpo.exceptions import StoreError
from daskhpo.store.requests import clear_stop, request_stop, stop_requested


def test_nobody_has_asked_where_nothing_is(tmp_path):
    assert stop_requested(tmp_path) == ""
    assert stop_requested(tmp_path / "nowhere") == ""


def test_a_request_stays_until_it_is_cleared(tmp_path):
    request_stop(tmp_path, "asked to stop by ada")
    assert stop_requested(tmp_path) == stop_requested(tmp_path) == "asked to stop by ada"
    clear_stop(tmp_path)
    assert stop_requested(tmp_path) == ""


def test_clearing_what_was_never_asked_is_no_error(tmp_path):
    clear_stop(tmp_path)
    clear_stop(tmp_path / "nowhere")


def test_the_last_reason_counts_and_is_one_line(tmp_path):
    request_stop(tmp_path)
    request_stop(tmp_path, "two\nlines ")
    assert stop_requested(tmp_path) == "two lines"


def test_an_empty_file_made_by_hand_is_a_request(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "stop").touch()
    assert stop_requested(tmp_path) == "asked to stop"


def test_no_half_written_request_is_left_beside_it(tmp_path):
    request_stop(tmp_path)
    assert os.listdir(tmp_path / "pool") == ["stop"]


def test_a_request_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "pool").write_text("in the way")
    with pytest.raises(StoreError, match="cannot create .*pool"):
        request_stop(tmp_path)
    clear_stop(tmp_path)
    with pytest.raises(StoreError, match="cannot create .*nowhere"):
        request_stop(tmp_path / "nowhere")
