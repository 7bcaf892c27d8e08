"""The settings and the page that lists them."""

from pathlib import Path

import pytest

from finetune_operator.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "install.md"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_on_the_page_about_installing(name: str) -> None:
    variable = f"`FINETUNE_{name.upper()}"
    text = PAGE.read_text()
    assert f"{variable}`" in text or f"{variable}__" in text
