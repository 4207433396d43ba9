"""Look with axe-core for what shuts people out of the pages: `make test-page`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchcore.runs.reading import RunFolder
from benchcore.show.page import render_page
from benchcore.show.pages import accuracy_page, comparison_page
from tests.show.browser import Browser, need_chromium
from tests.show.test_eval_page import report

EXAMPLE = Path(__file__).parents[2] / "results" / "examples" / "simulator"
OPEN_ALL = """
document.querySelectorAll("details").forEach((one) => { one.open = true; });
document.querySelector("#request-table tbody tr")?.click();
"""
RUN = "axe.run().then(({passes, violations}) => JSON.stringify([passes.length, violations]))"


def main() -> int:
    """Look at each page in both schemes; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("axe", type=Path, help="axe.min.js of the package axe-core")
    axe = parser.parse_args().axe.read_text(encoding="utf-8")
    need_chromium()
    run = RunFolder(EXAMPLE)
    contents = {
        "report": render_page(run),
        "comparison": comparison_page(run, [run], ["a note"]),
        "eval": accuracy_page(report(), show_text=True),
    }
    faults = 0
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        for name, content in contents.items():
            page = Path(folder) / f"{name}.html"
            page.write_text(content, encoding="utf-8")
            for width in (400, 1280, 1920):
                browser.open(page, width)
                browser.run(OPEN_ALL)
                browser.run(f"{axe};0")
                for scheme in ("light", "dark"):
                    browser.prefer(scheme)
                    passed, violations = json.loads(browser.run(RUN))
                    faults += len(violations)
                    print(f"{name}, {width} px, {scheme}: {passed} rules hold")
                    for fault in violations:
                        html = fault["nodes"][0]["html"]
                        print(f"  {fault['impact']}: {fault['id']}: {fault['help']}: {html}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
