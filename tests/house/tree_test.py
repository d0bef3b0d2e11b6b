#!/usr/bin/python3
"""The tree obeys the rules of the house: one test per rule, each names every place that breaks it."""

import pathlib
import re
import subprocess
import unittest

import rules

TREE = rules.Tree()


class House(unittest.TestCase):
    maxDiff = None

    def assertNothing(self, found):
        if found:
            self.fail("\n" + "\n".join(found))

    def test_the_walk_finds_the_tree(self):
        # Every other test would pass on an empty list.
        self.assertGreater(len(TREE.cxx()), 20)
        self.assertGreater(len(TREE.rooms()), 5)

    def test_rooms_include_lower_levels_and_third_party_headers_at_home_only(self):
        self.assertNothing([line for path in TREE.cxx()
                            for line in rules.check_includes(path, TREE.text(path), TREE.places)])

    def test_rooms_include_only_what_other_rooms_show(self):
        shown = {room: TREE.public_headers(room) for room in TREE.rooms()}
        self.assertNothing([line for path in TREE.cxx()
                            for line in rules.check_public(path, TREE.text(path), TREE.places, shown)])

    def test_public_lists_name_files_that_exist(self):
        missing = []
        for room in TREE.rooms():
            for header in rules.public_headers(TREE.text(f"{room}/CMakeLists.txt")):
                if "$" not in header and f"{room}/{header}" not in TREE.places:
                    missing.append(f"{room}/CMakeLists.txt: {header} does not exist")
        self.assertNothing(missing)

    def test_machines_read_no_clock_and_write_no_log(self):
        self.assertNothing([line for path in TREE.cxx() for line in rules.check_machine(path, TREE.text(path))])

    def test_every_drop_reason_and_counter_is_named_by_code(self):
        code = [TREE.text(path) for path in TREE.cxx()
                if path.startswith(("dataplane/", "drivers/")) and not path.startswith("dataplane/telemetry/")]
        for listed, macro in (("drop_reasons.def", "DROP_REASON"), ("counters.def", "COUNTER")):
            symbols = rules.symbols_of(TREE.text(f"dataplane/telemetry/{listed}"), macro)
            self.assertTrue(symbols)
            self.assertEqual(len(symbols), len(set(symbols)), f"{listed} lists a symbol twice")
            self.assertNothing([f"{listed}: nothing ever counts {symbol}"
                                for symbol in rules.unused_symbols(symbols, code)])

    def test_the_picture_of_the_levels_is_true(self):
        self.assertEqual(rules.drawn_levels(TREE.text("ARCHITECTURE.md")), rules.LEVELS)

    def test_every_room_has_a_page(self):
        self.assertNothing([f"{room}/README.md is missing" for room in TREE.rooms()
                            if f"{room}/README.md" not in TREE.places])

    def test_no_comment_speaks_of_unfinished_business(self):
        self.assertNothing([line for path in TREE.paths
                            if pathlib.PurePosixPath(path).suffix in rules.CXX | {".py", ".md", ".txt", ".cmake",
                                                                                  ".def", ".proto", ".yaml", ""}
                            and not path.startswith("tests/corpus/")
                            for line in rules.check_words(path, TREE.text(path))])

    def test_lines_fit_the_page(self):
        programs = set(TREE.shebang("python3")) | set(TREE.shebang("bash"))
        # Not the .def lists: there a line is a row.
        self.assertNothing([line for path in TREE.paths
                            if pathlib.PurePosixPath(path).suffix in rules.CXX | {".py", ".cmake", ".proto"}
                            or path.endswith("CMakeLists.txt") or path in programs
                            for line in rules.check_columns(path, TREE.text(path))])

    def test_no_file_is_larger_than_a_mebibyte(self):
        self.assertNothing([path for path in TREE.paths
                            if (TREE.root / path).stat().st_size > rules.MAX_FILE_BYTES])

    def test_white_space_is_what_clang_format_makes_of_it(self):
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *TREE.cxx()], cwd=TREE.root,
                              capture_output=True, text=True, check=False)
        places = re.findall(r"^(\S+?):(\d+):\d+: error", done.stderr, flags=re.MULTILINE)
        would = "\n".join(f"{path}:{line}" for path, line in places)
        self.assertEqual(done.returncode, 0, f"\nrun scripts/format; it would change\n{would}")

    def test_shell_scripts_are_clean_under_shellcheck(self):
        scripts = TREE.shebang("bash") + TREE.shebang("/bin/sh")
        self.assertTrue(scripts)
        done = subprocess.run(["shellcheck", *scripts], cwd=TREE.root, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_shell_scripts_stop_at_the_first_failure(self):
        self.assertNothing([f"{path}: set -euo pipefail is missing" for path in TREE.shebang("bash")
                            if "set -euo pipefail" not in TREE.text(path)])

    def test_every_script_tells_what_it_does(self):
        programs = [path for path in TREE.paths if re.fullmatch(r"(scripts|perf)/[\w-]+", path)
                    and TREE.text(path).startswith("#!")]
        self.assertTrue(programs)
        for path in programs:
            done = subprocess.run([str(TREE.root / path), "--help"], capture_output=True, text=True, timeout=30,
                                  check=False)
            self.assertEqual(done.returncode, 0, f"{path} --help: {done.stderr}")
            self.assertIn("usage", done.stdout.lower(), path)


if __name__ == "__main__":
    unittest.main()
