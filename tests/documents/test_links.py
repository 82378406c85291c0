"""Each relative link leads to a file and a heading that exist; from what is shipped, to a file that is shipped."""

import re
from pathlib import Path

import pytest

from tests.documents.blocks import DOCS, DOCUMENTS, ROOT, SHIPPED, name_of, prose_of


def links(document: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)]+)\)", prose_of(document)) if "://" not in link]


def anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose_of(document))
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", SHIPPED, ids=name_of)
def test_what_is_shipped_leads_to_what_is_shipped(document: Path) -> None:
    for link in links(document):
        target = (document.parent / link.partition("#")[0]).resolve()
        assert target in SHIPPED or target.is_relative_to(DOCS), link


def test_the_package_ships_them() -> None:
    """`make test-systemd` looks into the package itself."""
    script = (ROOT / "packaging" / "debian" / "build.sh").read_text()
    assert "for file in README.md ARCHITECTURE.md $(git ls-files docs); do" in script


def test_every_decision_is_in_the_index() -> None:
    folder = DOCS / "decisions"
    records = sorted(file.name for file in folder.glob("[0-9]*.md"))
    assert [name[:4] for name in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    index = re.findall(r"(?m)^\| \[(\d{4})\]\(([^)]+)\) \|", (folder / "README.md").read_text())
    assert index == [(name[:4], name) for name in records]


@pytest.mark.parametrize("record", sorted((DOCS / "decisions").glob("[0-9]*.md")), ids=name_of)
def test_a_decision_says_when_why_and_what_follows(record: Path) -> None:
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]}: ")
    assert re.search(r"(?m)^- Date: \d{4}-\d{2}-\d{2}", text)
    assert re.search(r"(?m)^- Status: (accepted|superseded by \d{4})$", text)
    assert re.findall(r"(?m)^## (.+)$", text) == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("document", SHIPPED[1:], ids=name_of)
def test_a_document_says_first_whom_it_is_for(document: Path) -> None:
    if not document.name[0].isdigit():
        assert re.match(r"# .+\n\nFor .+: ", document.read_text())
