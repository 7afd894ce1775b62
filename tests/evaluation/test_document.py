from html.parser import HTMLParser

from jointspace.evaluation.document import (
    Cell,
    Document,
    Fold,
    Heading,
    Paragraph,
    Picture,
    Table,
    Terms,
    render_html,
    render_markdown,
)

HOSTILE = 'push | the <script>alert(1)</script> "box" & *go*\nnow'


def _document():
    return Document(
        "A & B",
        (
            Heading("Part"),
            Paragraph(HOSTILE),
            Table(
                ("name", "R@1"), ((Cell(HOSTILE), Cell("0.5", "low\nchance 0.1", "clear")),), "c"
            ),
            Terms((("mAP", "how pure"),)),
            Picture("a.png", b"\x89PNG", "a picture"),
        ),
    )


class _Tags(HTMLParser):
    void = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href"}:
                assert value.startswith("data:")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_self_contained_and_keeps_data_out_of_the_markup():
    page = render_html(_document())
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "http" not in page
    assert "data:image/png;base64,iVBORw==" in page
    assert "A & B" in "".join(tags.text)
    assert '<td class="clear"><span>0.5</span><small>low<br>chance 0.1</small></td>' in page


def test_markdown_keeps_data_out_of_the_markup():
    text = render_markdown(_document())
    assert text.startswith("# A & B\n\n## Part\n")
    assert r"push \| the \<script\>alert(1)\</script\>" in text
    assert "| 0.5 (low, chance 0.1) |" in text
    assert "- **mAP**: how pure" in text
    assert "![a picture](a.png)" in text
    # Header, rule and one row: a line break in a cell would add a fourth.
    assert sum(line.startswith("|") for line in text.splitlines()) == 3


def _grouped():
    row = tuple(map(Cell, ("one", "1", "2", "3")))
    table = Table(("name", "a", "b", "c"), (row,), groups=(("first", 2), (HOSTILE, 1)))
    return Document("Grouped", (Fold(HOSTILE, (Heading("Inside", 3), table)),))


def test_folds_and_column_groups_are_well_formed_and_keep_data_out_of_the_markup():
    page = render_html(_grouped())
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert tags.seen.index("details") < tags.seen.index("summary") < tags.seen.index("h3")
    assert '<th class="group" colspan="2">first</th>' in page
    # A group begins at its first column.
    assert '<td class="plain start"><span>1</span>' in page
    assert '<td class="plain"><span>2</span>' in page
    assert '<td class="plain start"><span>3</span>' in page


def test_markdown_writes_groups_into_the_names_of_the_columns():
    text = render_markdown(_grouped())
    assert "| name | first: a | first: b | push" in text
    assert text.count("**push") == 1
    assert "### Inside" in text
