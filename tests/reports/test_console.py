"""Every kind of report as the console shows it, and as ``hf-transfer report`` does."""

import pytest
from hub.report_kinds import PAGES

from hf_transfer_kit.commands.report import main
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.reports import all_sections, report_text, sections_of, verdict_lines, write_report


@pytest.mark.parametrize("kind", PAGES)
def test_each_kind_of_report_has_its_table(kind, tmp_path, monkeypatch, capsys):
    report = PAGES[kind]()
    text = report_text(report)
    found = sections_of(report)
    assert found or "unfinished" in report.data
    for section, value in found:
        assert section.table(report, value)
        assert section.table(report, value) in text
    assert all(line in text for line in verdict_lines(report))
    write_report(tmp_path, report)
    monkeypatch.setattr("sys.argv", ["hf-transfer report", str(tmp_path)])
    main()
    said = capsys.readouterr().out
    assert said.splitlines()[0] == text.splitlines()[0]
    assert f"The page is {tmp_path / 'report.html'}." in said


def test_every_section_is_shown_by_some_kind():
    shown = {section.name for kind in PAGES for section, _ in sections_of(PAGES[kind]())}
    assert {section.name for section in all_sections()} <= shown


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"recipe": 3}', "null"])
def test_what_is_no_report_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["hf-transfer report", str(tmp_path)])
    with pytest.raises(DataError, match=r"holds no report\.json"):
        main()
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"cannot be read as a report|is empty"):
        main()
