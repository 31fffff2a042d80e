"""Cells that know the name of their column."""

from hub.report_kinds import PAGES
from reports.page_text import unlabelled

from hf_transfer_kit.reports import html_report
from hf_transfer_kit.reports.tables import with_labels

TABLE = """<table class="many"><caption>Two</caption>
<thead><tr><th scope="col">method</th><th class="n">topic, <b>"accuracy"</b></th></tr></thead>
<tbody>
<tr class="winner"><th scope="row">full<br><span>all</span></th><td class="n">7 %</td></tr>
</tbody></table>"""


def test_each_cell_has_its_columns_name():
    row = with_labels(TABLE).splitlines()[3]
    assert row == (
        '<tr class="winner"><th scope="row" data-label="method">full<br><span>all</span></th>'
        '<td class="n" data-label="topic, &#34;accuracy&#34;">7 %</td></tr>'
    )


def test_a_table_without_a_head_stays_as_it_is():
    page = "<table><tbody><tr><td>1</td></tr></tbody></table>"
    assert with_labels(page) == page


def test_nothing_else_of_a_page_changes():
    for make in PAGES.values():
        page = html_report(make())
        assert page.count("data-label=") == page.count("<td") + page.count('<th scope="row"')
        assert with_labels(unlabelled(page)) == page
