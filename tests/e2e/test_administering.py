"""What an admin sees in a browser: the second factor to set up, then people and clinics."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from harness.second_factor import Phone
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.people import People
    from harness.viewer import Viewer


def test_an_admin_sets_up_a_second_factor_and_finds_the_people(
    people: People, new_window: Callable[[], Viewer]
) -> None:
    name = f"admin-{secrets.token_hex(4)}"
    people.person(name, "admin", "")
    viewer = new_window()
    viewer.open("/auth/admin/dicom/console/#/dicom/users")
    viewer.fill_in_login(name, people.passwords[name])
    page = viewer.page
    expect(page.get_by_text("You need to set up Mobile Authenticator")).to_be_visible()
    secret = page.locator("input[name=totpSecret]").get_attribute("value")
    assert secret
    page.locator("#totp").fill(Phone(secret.encode()).code())
    page.locator("#userLabel").fill("Phone of the tests")
    page.locator("#saveTOTPBtn").click()
    viewer.await_element(page.get_by_role("link", name=name))
    assert viewer.watch.policy_violations() == []
    assert viewer.watch.elsewhere(viewer.url) == []
