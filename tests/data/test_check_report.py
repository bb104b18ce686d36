"""The report of a checked dataset, as text and as a page."""

from html.parser import HTMLParser

from wbcstudy.data.check import check_dataset

FACTS = "case_id,cell_type,group\n000,monocyte,p1\n001,monocyte,p1\n002,basophil,p2\n003,,\n"


class Page(HTMLParser):
    """Collect tags and addresses."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_loads_nothing_and_runs_no_names(make_folder):
    evil = "<script>alert(1)</script>"
    path = make_folder(
        title=evil,
        citation=evil,
        facts=FACTS.replace("monocyte", evil).replace("p1", "<img src=x>"),
        images="images/{case}.*",
    )
    for part, end in (("images", "bmp"), ("masks", "png")):
        file = path.parent / part / f"003.{end}"
        file.rename(file.with_name(f"<b>&.{end}"))
    page = Page(check_dataset(path).html())
    assert not {"script", "img", "b", "link"} & set(page.tags)
    assert page.addresses == []
    assert page.tags.count("tr") >= 4
