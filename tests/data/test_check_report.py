"""The report of a checked dataset, as text and as a page."""

from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from wbcstudy.data.check import check_dataset
from wbcstudy.data.findings import Finding, group_findings

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
    assert not {"script", "b", "link"} & set(page.tags)
    assert page.addresses and all(address.startswith("data:image/png;") for address in page.addresses)
    assert page.tags.count("tr") >= 4


def test_the_same_fault_of_many_files_is_one_finding():
    folder = Path("/data/my smears")
    findings = [Finding(f"Mask {folder}/masks/a {n}.png has the value {n}.", "List it.") for n in range(20)]
    findings.insert(3, Finding("No mask contains cytoplasm.", "Check."))
    conflict = Finding(f"{folder}/images/1.tif and {folder}/images/2.tif are the same image.", "Keep one.")
    grouped = group_findings([*findings, conflict], folder)
    assert [finding.fix for finding in grouped] == ["List it.", "Check.", "Keep one."]
    assert grouped[0].message == (
        f"Mask {folder}/masks/a 0.png has the value 0. 19 more files with this fault: masks/a 1.png, masks/a 2.png, "
        "masks/a 3.png, masks/a 4.png, masks/a 5.png and 14 more."
    )
    assert grouped[2] == conflict
    # Other advice is another fault, and equal findings without a file are kept.
    other = Finding(findings[0].message, "Save it as PNG.")
    assert len(group_findings([findings[0], other], folder)) == 2
    assert len(group_findings([findings[3], findings[3]], folder)) == 2


def test_masks_with_stray_pixels_are_one_warning(make_folder):
    path = make_folder()
    spec = path.read_text()
    path.write_text(
        spec.replace("tolerance: 0", "tolerance: 30") if "tolerance" in spec else f"{spec}\ntolerance: 30\n"
    )
    for mask in sorted((path.parent / "masks").iterdir()):
        image = Image.open(mask).convert("L")
        image.putpixel((0, 0), 3)
        image.save(mask)
    report = check_dataset(path)
    strays = [finding.message for finding in report.warnings if "stray pixel" in finding.message]
    assert len(strays) == 1 and strays[0].startswith(f"{len(report.cases)} masks (")
