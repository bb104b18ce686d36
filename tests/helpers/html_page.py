"""Read an HTML page as a browser would."""

import base64
import hashlib
import re
from html.parser import HTMLParser


class Elements(HTMLParser):
    """All start tags of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.inside = [], [], None
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("style", "script"):
            self.words.append(data)

    def handle_endtag(self, tag):
        self.inside = None


def assert_loads_nothing(page):
    for tag, attributes in Elements(page).tags:
        assert tag not in ("link", "iframe", "object", "embed"), tag
        for name in ("src", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), attributes
        assert not any(name.startswith("on") for name in attributes), attributes
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", page)
    assert "Content-Security-Policy" in page
    for attributes, script in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert 'type="application/json"' in attributes or f"'sha256-{digest}'" in page, attributes
        assert not re.search(r"\b(fetch|XMLHttpRequest|importScripts|WebSocket|eval)\b", script), attributes
