#!/usr/bin/env python3
"""A scrape of the agent is read by Prometheus's own parsers, with the values and labels that were written.

promtool reads the older text format with `check metrics` (which also tells its opinion on names: ztunnel's names are
given, so an opinion is no failure), and OpenMetrics, strictly, with `tsdb create-blocks-from openmetrics`, which asks
for a time on each sample: it is added here.
"""

import pathlib
import re
import subprocess
import tempfile
import unittest

import promtool
from programs import BIN


class Scrape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.promtool = promtool.program()
        cls.text = subprocess.run([BIN / "culvert-scrape-sample"], capture_output=True, text=True, check=True).stdout
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def import_blocks(self, text, name):
        """The data base made of an OpenMetrics text, as what promtool said and its folder."""
        source, blocks = (pathlib.Path(self.folder.name, name + end) for end in (".txt", ".blocks"))
        source.write_text(text)
        run = subprocess.run([self.promtool, "tsdb", "create-blocks-from", "openmetrics", source, blocks],
                             capture_output=True, text=True, check=False)
        return run, blocks

    def timed(self):
        return re.sub(r"(?m)^([^#].*)$", r"\1 1000000", self.text)

    def test_the_text_format_parses(self):
        run = subprocess.run([self.promtool, "check", "metrics"], input=self.text, capture_output=True, text=True,
                             check=False)
        self.assertIn(run.returncode, (0, 3), run.stderr)  # 3: opinions
        self.assertNotIn("error while linting", run.stderr)

    def test_open_metrics_parses_and_every_sample_arrives(self):
        run, blocks = self.import_blocks(self.timed(), "scrape")
        self.assertEqual(run.returncode, 0, run.stderr)
        (blocks / "wal").mkdir()  # which promtool looks for
        dump = subprocess.run([self.promtool, "tsdb", "dump", blocks], capture_output=True, text=True, check=True)
        got = {}
        for line in dump.stdout.splitlines():
            series, value = re.fullmatch(r"\{(.*)\} (\S+) \d+", line).groups()
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', series))
            got[labels.pop("__name__"), tuple(sorted(labels.items()))] = float(value)
        wanted = {}
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = re.fullmatch(r"(\w+)(\{.*\})? (\S+)", line).groups()
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            wanted[name, tuple(sorted(pairs))] = float(value)
        self.assertEqual(got, wanted)
        self.assertGreater(len(wanted), 300)

    def test_the_parser_is_strict(self):
        """What would be wrong is refused, so that the test above says something."""
        for wrong in (self.timed().replace("# EOF\n", ""),
                      self.timed().replace("# EOF\n", 'bad{a="b} 1 1000000\n# EOF\n'),
                      self.timed().replace("# TYPE istio_build gauge", "# TYPE istio_build gauges")):
            run, _ = self.import_blocks(wrong, "wrong")
            self.assertNotEqual(run.returncode, 0)


if __name__ == "__main__":
    unittest.main()
